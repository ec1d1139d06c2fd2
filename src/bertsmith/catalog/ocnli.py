"""OCNLI (Hu et al. 2020): entailment between sentences written in Chinese, not translated."""

from __future__ import annotations

from bertsmith.catalog.dataset import DataSet, Files, fields
from bertsmith.catalog.from_hub import Hub

_LABELS = ("entailment", "neutral", "contradiction")
_COLUMNS = {"text": "sentence1", "text_pair": "sentence2", "label": "label"}
_FILE = fields(_LABELS, **_COLUMNS, genre="genre", level="level")

OCNLI = DataSet(
    name="ocnli",
    title="OCNLI: does a Chinese sentence entail or contradict another?",
    task="classification",
    metric="accuracy",
    licence="CC BY-NC 2.0",
    source="https://github.com/CLUEbenchmark/OCNLI",
    splits={
        "train": Files(("zh_pair/ocnli/train.50k.json", "zh_pair/ocnli/train.10k.json"), record=_FILE),
        "test": Files(("zh_pair/ocnli/dev.json",), record=_FILE),
    },
    task_settings={"labels": _LABELS, "max_length": 128},
    hub=Hub("clue/clue", {"train": "train", "test": "validation"}, fields(_LABELS, **_COLUMNS), "ocnli"),
    notes=(
        "the test labels are secret: the dev set is the test set here",
        "rows on which the annotators did not agree have no label and are left out, and counted",
        "from a folder with train.10k.json alone: a fifth of the training set",
    ),
)
