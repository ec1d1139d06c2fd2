"""The data sets of the benchmark and how every system trains on each: one table. Knows no files and no library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bertsmith.errors import DataError, nearest

BATCH_SIZE = 32
WARMUP_FRACTION = 0.1
WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0
DROPOUT = 0.1


@dataclass(frozen=True)
class QualitySet:
    """A row of the table: a task, what is measured, and the training that all systems share.

    metrics: the first is the row's score; all are kept. max_length: in tokens; longer texts are cut at their end,
    except where windows are said. num_train, num_test: size of the fixed random subset; None: all rows.
    context_tokens, joined_words: of a document, for tagging. bar: what the score has to reach. published: score of
    Microsoft's MiniLM-L6. ours, peer: the row whose bertsmith, or whose peer, stands in this one too. by_length:
    whether the peer's batches are grouped by length. alone: no peer stands beside this row. about: what a reader of
    the table has to know.
    """

    name: str
    title: str
    task: str
    metrics: tuple[str, ...]
    num_epochs: int
    max_length: int = 128
    learning_rate: float = 1e-4
    num_train: int | None = None
    num_test: int | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    windows: bool = False
    stride: int = 0
    context_tokens: int = 0
    joined_words: int = 0
    batch_size: int = BATCH_SIZE
    bar: float | None = None
    published: float | None = None
    ours: str | None = None
    peer: str | None = None
    by_length: bool = True
    alone: bool = False
    about: str = ""

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """What a result has to have been made with to be taken for this row's."""
        named = ("num_epochs", "max_length", "learning_rate", "num_train", "num_test", "windows", "stride")
        values = {name: value for name, value in asdict(self).items() if name in named}
        if not self.by_length:
            values["by_length"] = False
        if self.context_tokens:
            values |= {"context_tokens": self.context_tokens, "joined_words": self.joined_words}
        shared = {
            "batch_size": self.batch_size,
            "warmup_fraction": WARMUP_FRACTION,
            "weight_decay": WEIGHT_DECAY,
            "max_grad_norm": MAX_GRAD_NORM,
            "dropout": DROPOUT,
        }
        return values | shared

    def is_run_by(self, system: str) -> bool:
        """Whether the row is made by that system, rather than taken from another row or left empty."""
        return self.row_of(system) == self.name and not (self.alone and system == "peer")

    def row_of(self, system: str) -> str:
        """The row that the system's results are taken from."""
        taken = {"bertsmith": self.ours, "peer": self.peer, "baseline": self.ours or self.peer}
        return taken[system] or self.name


ACCURACY = ("accuracy", "f1_macro")
ANSWERS = ("f1", "exact_match")
TAGS = ("overall_f1", "overall_precision", "overall_recall")
SIMILARITY = ("spearmanr", "pearson")

_SETS = (
    QualitySet(
        "sst2", "SST-2", "classification", ("accuracy",), 3, learning_rate=5e-5, seeds=(0,), bar=90.0, published=91.5
    ),
    QualitySet("cola", "CoLA", "classification", ("matthews_correlation", "accuracy"), 3, published=47.5),
    QualitySet(
        "mrpc",
        "MRPC",
        "classification",
        ("accuracy", "f1"),
        3,
        published=88.9,
        about="train is GLUE's train and dev together, scored on the official test; the published figure is on dev",
    ),
    QualitySet(
        "mrpc-random",
        "MRPC, peer in random batches",
        "classification",
        ("accuracy", "f1"),
        3,
        published=88.9,
        ours="mrpc",
        by_length=False,
        about="the row above, and the peer's batches drawn at random, as bertsmith's always are",
    ),
    QualitySet("stsb", "STS-B, cross-encoder", "classification", SIMILARITY, 5, bar=87.0),
    QualitySet(
        "stsb-bi",
        "STS-B, bi-encoder",
        "embedding",
        SIMILARITY,
        3,
        learning_rate=5e-5,
        about="cosine of two sentence vectors (mean pooling), trained by cosine regression",
    ),
    QualitySet("rte", "RTE", "classification", ("accuracy",), 3, max_length=256, published=68.8),
    QualitySet("wnli", "WNLI", "classification", ("accuracy",), 3, about="71 test rows made to mislead"),
    QualitySet(
        "qnli",
        "QNLI",
        "classification",
        ("accuracy",),
        2,
        num_train=10_000,
        published=90.5,
        about=(
            "10,000 training pairs built from SQuAD 1.1's training questions: half with the sentence that holds the "
            "answer, half with another of the same paragraph; the published figure is from all of QNLI's 105,000"
        ),
    ),
    QualitySet(
        "squad",
        "SQuAD 1.1",
        "question_answering",
        ANSWERS,
        1,
        max_length=384,
        num_train=8_000,
        num_test=2_000,
        stride=128,
        windows=True,
        about="8,000 training questions, one epoch, 2,000 questions of dev, for both systems",
    ),
    QualitySet(
        "squad-whole",
        "SQuAD 1.1, whole",
        "question_answering",
        ANSWERS,
        2,
        max_length=384,
        stride=128,
        windows=True,
        seeds=(0,),
        bar=80.0,
        alone=True,
        about="all 87,599 training questions, two epochs, all of dev; the peer would need many hours",
    ),
    QualitySet(
        "squad2",
        "SQuAD 2.0",
        "question_answering",
        ANSWERS,
        1,
        max_length=384,
        num_train=9_000,
        num_test=2_000,
        stride=128,
        windows=True,
        about=(
            "6,000 questions of SQuAD 1.1 and 3,000 without an answer, made by pairing 1.1's questions with another "
            "passage of the same article that lacks the answer; 2,000 questions of 2.0's dev. No answer is given where "
            "that scores highest (threshold 0)"
        ),
    ),
    QualitySet(
        "conll2003",
        "CoNLL-2003",
        "token_classification",
        TAGS,
        3,
        max_length=256,
        about="uncased; sentence by sentence for both systems",
    ),
    QualitySet(
        "conll2003-context",
        "CoNLL-2003, document context",
        "token_classification",
        TAGS,
        3,
        max_length=256,
        context_tokens=32,
        joined_words=100,
        batch_size=5,
        bar=86.0,
        peer="conll2003",
        about=(
            "bertsmith reads up to 32 tokens of the document on each side, and trains on its sentences joined to 100 "
            "words, 5 of these a step (about as many words as 32 sentences); peer: sentence by sentence"
        ),
    ),
    QualitySet(
        "agnews",
        "AG News",
        "classification",
        ACCURACY,
        2,
        about="10,001 training rows: the part of train that is there",
    ),
    QualitySet("banking77", "Banking77", "classification", ACCURACY, 5),
    QualitySet(
        "clinc150",
        "CLINC150",
        "classification",
        ACCURACY,
        4,
        about="151 classes: 150 intents and out of scope (100 training rows); accuracy over all 5,500 test rows",
    ),
    QualitySet(
        "imdb",
        "IMDB, cut at 256",
        "classification",
        ("accuracy",),
        2,
        max_length=256,
        num_train=2_000,
        num_test=2_000,
        about="2,000 training and 2,000 test reviews for both systems",
    ),
    QualitySet(
        "imdb-windows",
        "IMDB, windows of 256",
        "classification",
        ("accuracy",),
        2,
        max_length=256,
        num_train=2_000,
        num_test=2_000,
        windows=True,
        stride=32,
        peer="imdb",
        about="the same reviews read whole, in windows; peer: cut at 256",
    ),
    QualitySet(
        "arc",
        "ARC",
        "multiple_choice",
        ("accuracy",),
        2,
        about="easy and challenge together, questions with four choices: 3,237 of dev to train on, 839 of test",
    ),
)

SETS = {each.name: each for each in _SETS}


def quality_set(name: str) -> QualitySet:
    """The set of that name; `DataError` suggests the nearest."""
    if name not in SETS:
        raise DataError(f"no set {name!r}; {nearest(name, SETS)}")
    return SETS[name]
