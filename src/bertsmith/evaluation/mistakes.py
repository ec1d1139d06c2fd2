"""Where a model is wrong: the worst answers, and which label it takes for which. Knows `Task`, never a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bertsmith.evaluation.evaluate import Judged
from bertsmith.runtime.progress import number, shorten

NUM_MISTAKES = 20
MAX_TEXTS = 4
TEXT_CHARACTERS = 400
ANSWER_CHARACTERS = 160
MAX_DRAWN_LABELS = 30
NUM_PAIRS = 15


@dataclass(frozen=True, slots=True)
class Mistake:
    """An example with its texts shortened, the known answer, and what the prediction says, field by field.

    credit: how right it is, from 0 to 1. where: the row.
    """

    where: str
    texts: tuple[str, ...]
    known: str
    given: dict[str, str]
    credit: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """labels [L]; counts [L, L]: decisions of the row's known label that were given the column's label.

    pairs: the most frequent confusions as (known, given, count).
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[str, str, int], ...]

    @property
    def can_be_drawn(self) -> bool:
        return len(self.labels) <= MAX_DRAWN_LABELS


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Of the decisions on one label: right, those where it is known and given; missed, known and not given;

    wrong, given and not known. num: of all decisions; the rest is neither known nor given.
    """

    label: str
    right: int
    missed: int
    wrong: int
    num: int

    @property
    def rest(self) -> int:
        return self.num - self.right - self.missed - self.wrong

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        """0 where the label is never right."""
        return 2 * self.right / max(1, 2 * self.right + self.missed + self.wrong)


def worst(judged: Judged, num: int = NUM_MISTAKES) -> tuple[Mistake, ...]:
    """The least right answers, of equally wrong ones the most confident first."""
    credit = judged.task.credit(judged.marks)
    scores, _ = judged.task.confidences(judged.examples, judged.answers.predictions)
    confidence = scores if len(scores) == len(credit) else np.zeros(len(credit))
    order = np.lexsort((-confidence, credit))
    return tuple(mistake(judged, i) for i in order[:num].tolist() if credit[i] < 1)


def confusion(judged: Judged) -> Confusion | None:
    """None for a task without labels, and for decisions that give none or several."""
    both = judged.task.confusion(judged.examples, judged.answers.predictions)
    if not both[0] or any(len(decided) != 1 for side in both for decided in side):
        return None
    known, given = ([label for (label,) in side] for side in both)
    labels = _in_order(judged, set(known) | set(given))
    cells = Counter(zip(known, given, strict=True))
    wrong = sorted((pair for pair in cells if pair[0] != pair[1]), key=lambda pair: (-cells[pair], pair))
    counts = tuple(tuple(cells[row, column] for column in labels) for row in labels)
    return Confusion(labels, counts, tuple((*pair, cells[pair]) for pair in wrong[:NUM_PAIRS]))


def label_counts(judged: Judged) -> tuple[LabelCounts, ...]:
    """Of every label that occurs; none for a task without labels."""
    known, given = judged.task.confusion(judged.examples, judged.answers.predictions)
    right = Counter(label for pair in zip(known, given, strict=True) for label in set(pair[0]) & set(pair[1]))
    expected, said = (Counter(label for decided in side for label in decided) for side in (known, given))
    labels = _in_order(judged, expected.keys() | said.keys())
    return tuple(
        LabelCounts(label, right[label], expected[label] - right[label], said[label] - right[label], len(known))
        for label in labels
    )


def _in_order(judged: Judged, seen: Set[str]) -> tuple[str, ...]:
    """The task's labels that were seen, in its order, then others."""
    ours = [label for label in judged.task.labels() or () if label in seen]
    return (*ours, *sorted(seen - set(ours)))


def mistake(judged: Judged, place: int) -> Mistake:
    """One answer beside what is known, right or wrong."""
    credit = float(judged.task.credit(judged.marks[place : place + 1])[0])
    example, prediction = judged.examples[place], judged.answers.predictions[place]
    texts = [text for text in judged.task.texts(example.request) if text.strip()]
    shown = tuple(shorten(text, TEXT_CHARACTERS) for text in texts[:MAX_TEXTS])
    names = [field.name for field in fields(prediction) if not field.name.startswith("num_")]
    given = {name: _said(getattr(prediction, name)) for name in names}
    said = {name: shorten(value, ANSWER_CHARACTERS) for name, value in given.items() if value}
    return Mistake(example.where, shown, shorten(_said(example.answer) or "(none)", ANSWER_CHARACTERS), said, credit)


def _said(value: Any) -> str:
    """A plain value or a list of plain ones as text; nothing of what has parts of its own."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(_said, value)))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""
