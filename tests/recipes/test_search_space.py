"""The line that says what is tried: read, found among the settings, and every value possible before anything runs."""

from __future__ import annotations

import pytest

from bertsmith.errors import SettingsError
from bertsmith.recipes.finetune import finetune_settings
from bertsmith.recipes.search_space import Dimension, search_space

CLASS = finetune_settings("classification")
BASE = {"train_file": "a.csv"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("learning_rate=1e-5..1e-4:log", Dimension("training.learning_rate", (), 1e-5, 1e-4, True)),
        ("epochs=2,3.5", Dimension("training.num_train_epochs", (2, 3.5))),
        ("batch-size=8..32", Dimension("training.per_device_train_batch_size", (), 8, 32)),
        ("training.optimizer.weight_decay=0,0.1", Dimension("training.optimizer.weight_decay", (0, 0.1))),
        ("adaptation.train=all,lora", Dimension("adaptation.train", ("all", "lora"))),
        ("model=bert,other/bert", Dimension("model", ("bert", "other/bert"))),
        ("tune=true,false", Dimension("tune", (True, False))),
    ],
)
def test_a_line_is_a_dimension(word: str, expected: Dimension) -> None:
    assert search_space(CLASS, BASE, [word]) == [expected]
    assert search_space(CLASS, BASE, [str(expected)]) == [expected]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say what to try"),
        (["learning_rate"], "expected name=LOW..HIGH"),
        (["learningrate=1,2"], "unknown setting 'learningrate'; did you mean 'learning_rate'"),
        (["learning_rate=1e-3..1e-4"], "the lower one first"),
        (["learning_rate=0..1e-4:log"], "a logarithmic range begins above 0"),
        (["learning_rate=1e-5..1e-4:exp"], "after the range comes :log or nothing"),
        (["learning_rate=-1..1"], r"space: training.learning_rate=-1..1: training.learning_rate: .*greater than 0"),
        (["batch_size=8,many"], "per_device_train_batch_size=8,many: .*valid integer"),
        (["batch_size=8.5..16"], "valid integer"),
        (["epochs=1,2", "num_train_epochs=3,4"], "training.num_train_epochs is there twice"),
    ],
)
def test_what_cannot_be_tried_is_told(words: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        search_space(CLASS, BASE, words)
