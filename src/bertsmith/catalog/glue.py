"""GLUE's nine tasks (Wang et al. 2018). Where GLUE keeps the test labels to itself, its dev set is the test set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertsmith.catalog.dataset import DataSet, Files, Record, RowReader, fields
from bertsmith.catalog.from_hub import Hub
from bertsmith.catalog.shares import share
from bertsmith.data.delimited import Layout
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table

MAX_LENGTH = 128
_HUB = "nyu-mll/glue"
_SPLITS = {"train": "train", "test": "validation"}
_DEV_IS_TEST = "GLUE's test labels are secret: its dev set is the test set here, as in published results"
_STSB_COLUMNS = ("genre", "file", "year", "id", "score", "sentence1", "sentence2", "source1", "source2")

_SENTENCE = {"text": "sentence", "label": "label"}
_SENTENCES = {"text": "sentence1", "text_pair": "sentence2", "label": "label"}


def _tsv(names: Sequence[str] = (), num_optional: int = 0) -> RowReader:
    """A reader of GLUE's tables: tabs, and quotes that are characters like any other; by `names` without a header."""
    layout = Layout(tuple(names), num_optional, delimiter="\t", quoted=False)

    def read(path: Path, reading: Reading) -> Iterator[Row]:
        return read_table(path, reading, layout)

    return read


def _dev_as_test(folder: str, record: Record, read: RowReader | None = None) -> dict[str, Files]:
    read = read or _tsv()
    return {
        "train": Files((f"glue/{folder}/train.tsv",), read, record),
        "test": Files((f"glue/{folder}/dev.tsv",), read, record),
    }


def _classification(labels: Sequence[str]) -> dict[str, Any]:
    return {"labels": tuple(labels), "max_length": MAX_LENGTH}


def _qids(row: Row) -> tuple[str, str]:
    return str(row.values["qid1"]), str(row.values["qid2"])


_COLA = ("unacceptable", "acceptable")
_SST2 = ("negative", "positive")
_MRPC = ("not_equivalent", "equivalent")
_QQP = ("not_duplicate", "duplicate")
_MNLI = ("entailment", "neutral", "contradiction")
_ENTAILMENT = ("entailment", "not_entailment")
_WNLI = ("not_entailment", "entailment")

_MRPC_FILE = fields(_MRPC, text="#1 String", text_pair="#2 String", label="Quality")
_QQP_FIELDS = fields(_QQP, text="question1", text_pair="question2", label="is_duplicate")
_STSB_FILE = {"text": "sentence1", "text_pair": "sentence2", "genre": "genre"}
_MNLI_FIELDS = fields(_MNLI, text="premise", text_pair="hypothesis", label="label")
_QNLI_FIELDS = fields(_ENTAILMENT, text="question", text_pair="sentence", label="label")


def _stsb_splits(answer_field: str) -> dict[str, Files]:
    columns: Mapping[str, str] = {**_STSB_FILE, answer_field: "score"}
    read, record = _tsv(_STSB_COLUMNS, num_optional=2), fields(**columns)
    names = {"train": "train", "test": "dev", "sts_test": "test"}
    return {split: Files((f"glue/STS-B/sts-{name}.tsv",), read, record) for split, name in names.items()}


_STSB_NOTES = (
    _DEV_IS_TEST,
    "sts_test: the test set of the STS benchmark itself, whose labels are public; only from a folder",
)

GLUE = (
    DataSet(
        name="cola",
        title="CoLA: is an English sentence grammatical?",
        task="classification",
        metric="matthews_correlation",
        licence="none stated; research use (Warstadt et al. 2019)",
        source="https://nyu-mll.github.io/CoLA/",
        splits=_dev_as_test(
            "CoLA", fields(_COLA, text="sentence", label="label"), _tsv(("source", "label", "mark", "sentence"))
        ),
        task_settings=_classification(_COLA),
        hub=Hub(_HUB, _SPLITS, fields(_COLA, **_SENTENCE), "cola"),
        notes=(_DEV_IS_TEST,),
    ),
    DataSet(
        name="sst2",
        title="SST-2: the sentiment of a sentence or phrase of a film review",
        task="classification",
        metric="accuracy",
        licence="none stated (Socher et al. 2013)",
        source="https://nlp.stanford.edu/sentiment/",
        splits=_dev_as_test("SST-2", fields(_SST2, **_SENTENCE)),
        task_settings=_classification(_SST2),
        hub=Hub(_HUB, _SPLITS, fields(_SST2, **_SENTENCE), "sst2"),
        notes=(_DEV_IS_TEST, "training rows are phrases too, test rows whole sentences"),
    ),
    DataSet(
        name="mrpc",
        title="MRPC: do two sentences of the news say the same?",
        task="classification",
        metric="f1",
        licence="none stated; research use (Microsoft Research Paraphrase Corpus)",
        source="https://www.microsoft.com/en-us/download/details.aspx?id=52398",
        splits={
            "train": Files(("glue/MRPC/msr_paraphrase_train.txt",), _tsv(), _MRPC_FILE),
            "test": Files(("glue/MRPC/msr_paraphrase_test.txt",), _tsv(), _MRPC_FILE),
        },
        task_settings=_classification(_MRPC),
        hub=Hub(_HUB, {"train": "train+validation", "test": "test"}, fields(_MRPC, **_SENTENCES), "mrpc"),
        notes=(
            "train is the corpus's own, GLUE's train and dev together (4,076 rows); test is the corpus's own (1,725)",
            "results published for GLUE's dev set (408 rows) are of other rows",
        ),
    ),
    DataSet(
        name="qqp",
        title="QQP: do two questions ask the same?",
        task="classification",
        metric="f1",
        licence="none stated; non-commercial use by Quora's terms",
        source="https://quoradata.quora.com/First-Quora-Dataset-Release-Question-Pairs",
        splits={
            split: Files(("glue/QQP/subset.tsv",), share(_tsv(), _qids, test=split == "test"), _QQP_FIELDS)
            for split in ("train", "test")
        },
        task_settings=_classification(_QQP),
        hub=Hub(_HUB, _SPLITS, fields(_QQP, text="question1", text_pair="question2", label="label"), "qqp"),
        notes=(
            "from a folder: a part of GLUE's rows (23,496), a tenth of them held out so that no question is in both",
            _DEV_IS_TEST,
        ),
    ),
    DataSet(
        name="stsb",
        title="STS-B: how alike are two sentences, from 0 to 5? As a pair",
        task="classification",
        metric="spearmanr",
        licence="several, by the source of the sentences; see its LICENSE.txt",
        source="https://ixa2.si.ehu.eus/stswiki/index.php/STSbenchmark",
        splits=_stsb_splits("label"),
        task_settings={"problem_type": "regression", "max_length": MAX_LENGTH},
        hub=Hub(_HUB, _SPLITS, fields(**_SENTENCES), "stsb"),
        notes=_STSB_NOTES,
    ),
    DataSet(
        name="stsb_embedding",
        title="STS-B: how alike are two sentences, from 0 to 5? By the cosine of their vectors",
        task="embedding",
        metric="spearmanr",
        licence="several, by the source of the sentences; see its LICENSE.txt",
        source="https://ixa2.si.ehu.eus/stswiki/index.php/STSbenchmark",
        splits=_stsb_splits("score"),
        task_settings={"objective": "cosine", "score_range": (0.0, 5.0), "max_length": MAX_LENGTH},
        hub=Hub(_HUB, _SPLITS, fields(text="sentence1", text_pair="sentence2", score="label"), "stsb"),
        notes=_STSB_NOTES,
    ),
    DataSet(
        name="mnli",
        title="MNLI: does a premise entail or contradict a hypothesis?",
        task="classification",
        metric="accuracy",
        licence="several, mostly OANC (Williams et al. 2018)",
        source="https://cims.nyu.edu/~sbowman/multinli/",
        splits={},
        task_settings=_classification(_MNLI),
        hub=Hub(
            _HUB,
            {"train": "train", "test": "validation_matched", "test_mismatched": "validation_mismatched"},
            _MNLI_FIELDS,
            "mnli",
        ),
        notes=("test: the matched dev set; test_mismatched: the one of other genres", _DEV_IS_TEST),
    ),
    DataSet(
        name="qnli",
        title="QNLI: does a sentence answer a question?",
        task="classification",
        metric="accuracy",
        licence="CC BY-SA 4.0 (text of SQuAD)",
        source="https://gluebenchmark.com/",
        splits={"test": Files(("glue/QNLI/dev.tsv",), _tsv(), _QNLI_FIELDS)},
        task_settings=_classification(_ENTAILMENT),
        hub=Hub(_HUB, _SPLITS, _QNLI_FIELDS, "qnli"),
        notes=("from a folder: the test split alone", _DEV_IS_TEST),
    ),
    DataSet(
        name="rte",
        title="RTE: does one text entail another?",
        task="classification",
        metric="accuracy",
        licence="none stated (RTE challenges 1, 2, 3 and 5)",
        source="https://aclweb.org/aclwiki/Recognizing_Textual_Entailment",
        splits=_dev_as_test("RTE", fields(_ENTAILMENT, **_SENTENCES)),
        task_settings={"labels": _ENTAILMENT, "max_length": 256},
        hub=Hub(_HUB, _SPLITS, fields(_ENTAILMENT, **_SENTENCES), "rte"),
        notes=(_DEV_IS_TEST,),
    ),
    DataSet(
        name="wnli",
        title="WNLI: what does a pronoun stand for, asked as entailment",
        task="classification",
        metric="accuracy",
        licence="CC BY 4.0 (Levesque et al. 2012)",
        source="https://cs.nyu.edu/~davise/papers/WinogradSchemas/WS.html",
        splits=_dev_as_test("WNLI", fields(_WNLI, **_SENTENCES)),
        task_settings=_classification(_WNLI),
        hub=Hub(_HUB, _SPLITS, fields(_WNLI, **_SENTENCES), "wnli"),
        notes=(
            _DEV_IS_TEST,
            "dev rows share sentences with training rows of the other label, so what learns is often below chance",
        ),
    ),
)
