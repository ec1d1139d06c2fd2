"""Records of the Hugging Face hub, fetched and cached by the `datasets` package (extra `datasets`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from bertsmith.errors import DataError, SettingsError

CONVERTED = "refs/convert/parquet"
"""Where the hub keeps its own Parquet copy of repositories that would otherwise have to run a script."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set on the hub: `splits` are its own names by ours, as `{"train": "train+validation"}`.

    record: a record's values, numbers of classes already replaced by their names -> a task's fields.
    """

    repository: str
    splits: Mapping[str, str]
    record: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    config: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository + (f", {self.config}" if self.config else "")


def hub_records(hub: Hub, split: str) -> Iterator[dict[str, Any]]:
    """The records of one of our splits. Asks the network, unless they were fetched before. Raises `DataError`."""
    datasets = _package()
    try:
        table = datasets.load_dataset(hub.repository, hub.config, split=hub.splits[split], revision=hub.revision)
    except (OSError, ValueError, RuntimeError) as error:  # the package's own errors derive from these
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"the {split} split of {hub} did not come from the Hugging Face hub ({reason}); check the connection, or "
            "name a folder that holds the files: --data-dir"
        ) from None
    return named_records(table)


def named_records(table: Any) -> Iterator[dict[str, Any]]:
    """The records of a `datasets.Dataset`; numbers of classes, alone or in lists, by their names; None for -1."""
    names_of = {}
    for column, feature in table.features.items():
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if names:
            names_of[column] = names
    for record in table:
        yield {
            column: _named(value, names_of[column]) if column in names_of else value for column, value in record.items()
        }


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_named(inner, names) for inner in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _package() -> Any:
    try:
        return import_module("datasets")
    except ImportError:
        raise SettingsError(
            "data sets come from the Hugging Face hub through the package `datasets`: "
            "pip install 'bertsmith[datasets]', or name a folder that holds the files: --data-dir"
        ) from None
