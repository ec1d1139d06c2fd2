"""Records of the Hugging Face hub, by its own package from a folder that is laid out like one of its repositories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bertsmith.catalog import data_set
from bertsmith.catalog.dataset import DataSet, Files, LeftOut, fields
from bertsmith.catalog.from_hub import Hub, hub_records, named_records
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, SettingsError


def table(columns: dict[str, list[Any]], classes: dict[str, Any]) -> Any:
    """A table of the hub's package; `classes`: names of the classes of a column, in a list for a column of lists."""
    datasets = pytest.importorskip("datasets")
    features = {}
    for name, values in columns.items():
        if name not in classes:
            features[name] = datasets.Value("float64" if isinstance(values[0], float) else "string")
        elif isinstance(classes[name], list):
            features[name] = datasets.List(datasets.ClassLabel(names=classes[name][0]))
        else:
            features[name] = datasets.ClassLabel(names=classes[name])
    if "tokens" in columns:
        features["tokens"] = datasets.List(datasets.Value("string"))
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.mark.peers
def test_numbers_of_classes_become_names_alone_and_in_lists() -> None:
    columns = {"label": [1, 0, -1], "ner_tags": [[0, 1], [], [1]], "score": [0.5, 1.0, 2.0]}
    rows = list(named_records(table(columns, {"label": ("neg", "pos"), "ner_tags": [("O", "B-PER")]})))
    assert rows == [
        {"label": "pos", "ner_tags": ["O", "B-PER"], "score": 0.5},
        {"label": "neg", "ner_tags": [], "score": 1.0},
        {"label": None, "ner_tags": ["B-PER"], "score": 2.0},
    ]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the Parquet files of two splits, as a repository on the hub holds them."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    texts = {"train": (["good", "bad", "odd"], [1, 0, -1]), "validation": (["fine"], [1])}
    for split, (sentences, labels) in texts.items():
        columns = {"sentence": sentences, "label": labels}
        table(columns, {"label": ("negative", "positive")}).to_parquet(folder / f"{split}.parquet")
    monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


@pytest.mark.peers
def test_a_split_is_fetched_and_its_rows_know_their_place(repository: Path) -> None:
    record = fields(("negative", "positive"), text="sentence", label="label")
    hub = Hub(str(repository), {"train": "train+validation", "test": "validation"}, record)
    reviews = DataSet("reviews", "", "classification", "accuracy", "", "", {}, hub=hub)
    reading = Reading()
    rows = list(reviews.rows("train", reading=reading))
    assert [row.values for row in rows] == [
        {"text": "good", "label": "positive"},
        {"text": "bad", "label": "negative"},
        {"text": "fine", "label": "positive"},
    ]
    assert rows[2] == Row({"text": "fine", "label": "positive"}, repository / "train", 4)
    assert reading.skipped == {"rows without a label": 1}
    assert [row.values["text"] for row in reviews.rows("test")] == ["fine"]


@pytest.mark.peers
@pytest.mark.parametrize(
    ("folder", "split", "told"),
    [
        ("nowhere/at all", "train", "nowhere/at all did not come from the Hugging Face hub"),
        ("reviews", "test", r"the test split of .*reviews did not come from the Hugging Face hub"),
    ],
)
def test_what_the_hub_does_not_give_is_told(repository: Path, folder: str, split: str, told: str) -> None:
    hub = Hub(str(repository.parent / folder), {"train": "train", "test": "test"})
    with pytest.raises(DataError, match=told):
        next(hub_records(hub, split))


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "columns", "classes", "expected"),
    [
        (
            "qnli",
            {"question": ["Who?"], "sentence": ["She."], "label": [1]},
            {"label": ("entailment", "not_entailment")},
            {"text": "Who?", "text_pair": "She.", "label": "not_entailment"},
        ),
        (
            "stsb",
            {"sentence1": ["a"], "sentence2": ["b"], "label": [2.5]},
            {},
            {"text": "a", "text_pair": "b", "label": 2.5},
        ),
        (
            "conll2003",
            {"tokens": [["Anna", "sleeps"]], "ner_tags": [[1, 0]]},
            {"ner_tags": [("O", "B-PER")]},
            {"words": ["Anna", "sleeps"], "tags": ["B-PER", "O"]},
        ),
        (
            "weibo_ner",
            {"tokens": [["科0", "技1"]], "ner_tags": [[0, 0]]},
            {"ner_tags": [("O", "B-PER.NAM")]},
            {"words": ["科", "技"], "tags": ["O", "O"]},
        ),
        (
            "ud_pos",
            {"tokens": [["don't", "do", "n't"]], "upos": [[0, 1, 2]]},
            {"upos": [("_", "AUX", "PART")]},
            {"words": ["do", "n't"], "tags": ["AUX", "PART"]},
        ),
        (
            "clinc150",
            {"text": ["hello"], "intent": [1]},
            {"intent": ("greeting", "oos")},
            {"text": "hello", "label": "oos"},
        ),
    ],
)
def test_the_hub_s_columns_fill_the_fields(
    name: str, columns: dict[str, list[Any]], classes: dict[str, Any], expected: dict[str, Any]
) -> None:
    hub = data_set(name).hub
    assert hub is not None
    assert [hub.record(record) for record in named_records(table(columns, classes))] == [expected]


def test_arc_s_choices_come_with_their_own_keys() -> None:
    hub = data_set("arc_easy").hub
    assert hub is not None
    choices = {"text": ["ice", "steam"], "label": ["1", "2"]}
    assert hub.record({"question": "Hot?", "choices": choices, "answerKey": "2"}) == {
        "question": "Hot?",
        "choices": ["ice", "steam"],
        "label": 1,
    }
    with pytest.raises(LeftOut, match="questions that lack the right choice"):
        hub.record({"question": "Hot?", "choices": choices, "answerKey": "3"})


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingsError, match=r"pip install 'bertsmith\[datasets\]'.*--data-dir"):
        next(data_set("sst2").rows("train"))


def test_what_is_only_in_folders_says_so() -> None:
    alone = DataSet("alone", "", "classification", "accuracy", "", "", {"test": Files(("a.csv",))})
    with pytest.raises(DataError, match="alone: not on the Hugging Face hub; name the folder"):
        alone.rows("test")
