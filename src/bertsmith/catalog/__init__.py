"""Public data sets by name: what each is, and where its rows come from. One file a set or a family of them."""

from __future__ import annotations

from bertsmith.catalog.arc import ARC
from bertsmith.catalog.cranfield import CRANFIELD
from bertsmith.catalog.dataset import DataSet
from bertsmith.catalog.extractive import EXTRACTIVE
from bertsmith.catalog.glue import GLUE
from bertsmith.catalog.ocnli import OCNLI
from bertsmith.catalog.tagging import TAGGING
from bertsmith.catalog.texts import TEXTS
from bertsmith.errors import SettingsError, nearest

DATA_SETS: dict[str, DataSet] = {
    data_set.name: data_set for data_set in (*GLUE, *TEXTS, OCNLI, *TAGGING, *EXTRACTIVE, *ARC, CRANFIELD)
}


def data_set(name: str) -> DataSet:
    """The data set of that name; a `SettingsError` with the nearest one where there is none."""
    if name not in DATA_SETS:
        raise SettingsError(f"no data set {name!r}; {nearest(name, DATA_SETS)}")
    return DATA_SETS[name]
