"""Columns have one spelling in every run's settings."""

from __future__ import annotations

import pytest

from bertsmith.errors import SettingsError
from bertsmith.recipes.compare import CompareSettings
from bertsmith.recipes.evaluate import EvaluateSettings
from bertsmith.recipes.finetune import finetune_settings
from bertsmith.recipes.predict import PredictSettings
from bertsmith.recipes.tables import TableSettings

KINDS = {
    "finetune": (finetune_settings("classification"), {}),
    "evaluate": (EvaluateSettings, {"folder": "m"}),
    "compare": (CompareSettings, {"first": "m", "second": "n"}),
    "predict": (PredictSettings, {"folder": "m"}),
}


@pytest.mark.parametrize("verb", KINDS)
def test_both_spellings_are_the_same_setting(verb: str) -> None:
    kind, needed = KINDS[verb]
    settings = kind.of(needed | {"columns": {"text": "a", "label": "b"}, "label_column": "c", "text_pair_column": None})
    assert isinstance(settings, TableSettings)
    assert settings.columns == {"text": "a", "label": "c"}


def test_a_setting_that_is_called_like_a_column_stays_one() -> None:
    settings = EvaluateSettings.of({"folder": "m", "slice_column": ["source"], "text_column": "a"})
    assert (settings.slice_column, settings.columns) == (("source",), {"text": "a"})


def test_columns_have_to_be_named() -> None:
    with pytest.raises(SettingsError, match="columns"):
        PredictSettings.of({"folder": "m", "columns": "text", "text_column": "a"})
