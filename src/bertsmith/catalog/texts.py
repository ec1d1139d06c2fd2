"""Single texts with a class: IMDB, AG News, Banking77, CLINC150 with out-of-scope, ChnSentiCorp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertsmith.catalog.dataset import DataSet, Files, LeftOut, RowReader, Values, fields
from bertsmith.catalog.from_hub import CONVERTED, Hub
from bertsmith.catalog.shares import share
from bertsmith.data.delimited import Layout
from bertsmith.data.json_file import read_json_file
from bertsmith.data.lines import Fault, Reading, sift
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError

_IMDB = ("neg", "pos")
_AG_NEWS = ("World", "Sports", "Business", "Sci/Tech")
_SENTIMENT = ("negative", "positive")
_TRAIN_AND_TEST = {"train": "train", "test": "test"}
_THREE = {"train": "train", "validation": "validation", "test": "test"}
_AG_NEWS_LAYOUT = Layout(("text", "label"), delimiter="\t", quoted=False)
_IMDB_FIELDS = fields(_IMDB, text="text", label="label")
_AG_NEWS_FIELDS = fields(_AG_NEWS, text="text", label="label")
_REVIEW = fields(_SENTIMENT, text="review", label="label")


def _ag_news(path: Path, reading: Reading) -> Iterator[Row]:
    return read_table(path, reading, _AG_NEWS_LAYOUT)


def _with_rating(values: Values) -> Values:
    return {**_IMDB_FIELDS(values), **({"rating": values["rating"]} if "rating" in values else {})}


def _non_empty_review(values: Values) -> Values:
    if not str(values.get("review", "?")).strip():
        raise LeftOut("rows without a text")
    return _REVIEW(values)


def _review(row: Row) -> tuple[str]:
    return (str(row.values.get("review")),)


def _clinc(part: str) -> RowReader:
    """A reader of CLINC's one file: the lists of [text, intent] of a part, those out of scope among them."""

    def read(path: Path, reading: Reading) -> Iterator[Row]:
        content = read_json_file(path, reading)
        pairs: list[tuple[str, Any]] = []
        for name in (part, f"oos_{part}"):
            found = content.get(name) if isinstance(content, dict) else None
            if not isinstance(found, list):
                raise DataError(f"{path}: expected a list {name!r} of [text, intent], as CLINC150 has it")
            pairs += [(f"{path}, {name}[{i}]", pair) for i, pair in enumerate(found)]
        rows = (_clinc_row(path, number, *pair) for number, pair in enumerate(pairs, start=1))
        return sift(rows, reading)

    return read


def _clinc_row(path: Path, number: int, where: str, pair: Any) -> Row | Fault:
    if isinstance(pair, list) and len(pair) == 2 and all(isinstance(cell, str) for cell in pair):
        return Row({"text": pair[0], "label": pair[1]}, path, number)
    return Fault(where, "no [text, intent]", f"found {pair!r:.60}")


TEXTS = (
    DataSet(
        name="imdb",
        title="IMDB: the sentiment of a film review",
        task="classification",
        metric="accuracy",
        licence="none stated; research use (Maas et al. 2011)",
        source="https://ai.stanford.edu/~amaas/data/sentiment/",
        splits={
            "train": Files(("cls/imdb/train.jsonl",), record=_with_rating),
            "test": Files(("cls/imdb/test.jsonl",), record=_with_rating),
        },
        task_settings={"labels": _IMDB, "max_length": 512},
        hub=Hub("stanfordnlp/imdb", _TRAIN_AND_TEST, _IMDB_FIELDS),
        notes=("many reviews are longer than a window",),
    ),
    DataSet(
        name="ag_news",
        title="AG News: the section of a piece of news",
        task="classification",
        metric="accuracy",
        licence="non-commercial use (AG's corpus)",
        source="http://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html",
        splits={
            "train": Files(("cls/agnews/train.tsv", "cls/agnews/dev.tsv"), _ag_news, _AG_NEWS_FIELDS),
            "test": Files(("cls/agnews/test.tsv",), _ag_news, _AG_NEWS_FIELDS),
        },
        task_settings={"labels": _AG_NEWS, "max_length": 128},
        hub=Hub("fancyzhx/ag_news", _TRAIN_AND_TEST, _AG_NEWS_FIELDS),
        notes=("from a folder with dev.tsv alone: these 10,001 rows train, the whole training set has 120,000",),
    ),
    DataSet(
        name="banking77",
        title="Banking77: which of 77 intents has a customer of a bank?",
        task="classification",
        metric="accuracy",
        licence="CC BY 4.0",
        source="https://github.com/PolyAI-LDN/task-specific-datasets",
        splits={
            "train": Files(("intent/banking77/train.csv",), record=fields(text="text", label="category")),
            "test": Files(("intent/banking77/test.csv",), record=fields(text="text", label="category")),
        },
        task_settings={"max_length": 128},
        hub=Hub("PolyAI/banking77", _TRAIN_AND_TEST, fields(text="text", label="label"), revision=CONVERTED),
    ),
    DataSet(
        name="clinc150",
        title="CLINC150: which of 150 intents has a user, or one out of scope (oos)?",
        task="classification",
        metric="accuracy",
        licence="CC BY 3.0",
        source="https://github.com/clinc/oos-eval",
        splits={
            split: Files(("intent/clinc150/data_oos_plus.json",), _clinc(part))
            for split, part in {"train": "train", "validation": "val", "test": "test"}.items()
        },
        task_settings={"max_length": 64},
        hub=Hub("clinc/clinc_oos", _THREE, fields(text="text", label="intent"), "plus"),
        notes=(
            "the variant with 250 out-of-scope training rows (plus); of the 5,500 test rows 1,000 are out of scope",
        ),
    ),
    DataSet(
        name="chnsenticorp",
        title="ChnSentiCorp: the sentiment of a Chinese review",
        task="classification",
        metric="accuracy",
        licence="none stated",
        source="https://github.com/SophonPlus/ChineseNlpCorpus",
        splits={
            split: Files(
                ("zh_cls/ChnSentiCorp_htl_all.csv",),
                share(read_table, _review, test=split == "test"),
                _non_empty_review,
            )
            for split in ("train", "test")
        },
        task_settings={"labels": _SENTIMENT, "max_length": 512},
        hub=Hub("lansinuote/ChnSentiCorp", _THREE, fields(_SENTIMENT, text="text", label="label")),
        notes=(
            "from a folder: its hotel reviews (7,766), two thirds positive, a fixed tenth of them held out",
            "from the hub: reviews of hotels, books and computers in the published splits",
        ),
    ),
)
