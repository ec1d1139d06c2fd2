"""Figures of parts of the examples: by length, by label, by a column. Knows `Task`, never a task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertsmith.evaluation.evaluate import Judged
from bertsmith.evaluation.intervals import MIN_DRAWS, Interval, Marked, bootstrap

NUM_LENGTHS = 4
MAX_SLICES = 30
"""Of one kind: the ones with most examples are shown."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the examples, how many, and their figure."""

    name: str
    num: int
    figure: Interval


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices of one kind. kind: what they differ by. figure: the name of what is given for each.

    num_left_out: slices that are not shown, being the smallest of too many.
    """

    kind: str
    figure: str
    slices: tuple[Slice, ...]
    num_left_out: int = 0


def slices_of(judged: Judged) -> tuple[Slices, ...]:
    """Slices by the examples' length, windows, label and kept columns; kinds that do not divide them are left out.

    The figure is the task's first metric; by label, where most metrics mean little, it is the mean credit.
    """
    kinds = [
        ("length", _by_length(judged), False),
        ("reading", _by_reading(judged), False),
        ("label", _by_label(judged), True),
        *((name, _by_column(judged, name), False) for name in _columns(judged)),
    ]
    return tuple(_measured(judged, kind, rows, by_credit) for kind, rows, by_credit in kinds if len(rows) > 1)


def _measured(judged: Judged, kind: str, rows: dict[str, list[int]], by_credit: bool) -> Slices:
    shown = sorted(rows, key=lambda name: -len(rows[name]))[:MAX_SLICES]
    credit = judged.task.credit(judged.marks)
    figure = ("share right" if set(credit.tolist()) <= {0.0, 1.0} else "credit") if by_credit else _first_metric(judged)
    whole = Marked(lambda marks: {figure: float(marks.mean())}, credit[:, None]) if by_credit else judged.marked

    def measured(name: str) -> Slice:
        part = Marked(whole.metrics_of, whole.marks[rows[name]])
        return Slice(name, len(rows[name]), bootstrap(part, max_draws=MIN_DRAWS)[figure])

    return Slices(kind, figure, tuple(measured(name) for name in rows if name in shown), len(rows) - len(shown))


def _first_metric(judged: Judged) -> str:
    found = judged.task.metrics_of(judged.marks)
    return next(name for name in judged.task.metrics if name in found)


def _by_length(judged: Judged) -> dict[str, list[int]]:
    """Quarters of the examples by the number of characters in all their texts."""
    lengths = np.array([sum(map(len, judged.task.texts(example.request))) for example in judged.examples])
    bounds = np.unique(np.quantile(lengths, np.linspace(0, 1, NUM_LENGTHS + 1)[1:-1], method="lower"))
    places = np.searchsorted(bounds, lengths)
    rows = _gathered(places.tolist())
    return {_range(lengths[inside]): inside for _, inside in sorted(rows.items())}


def _range(lengths: Any) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low:,} to {high:,} characters" if low < high else f"{low:,} characters"


def _by_reading(judged: Judged) -> dict[str, list[int]]:
    def how(prediction: Any) -> str:
        if getattr(prediction, "num_cut_tokens", 0):
            return "cut"
        return "in several windows" if getattr(prediction, "num_windows", 1) > 1 else "whole"

    rows = _gathered(map(how, judged.answers.predictions))
    return {name: rows[name] for name in ("whole", "in several windows", "cut") if name in rows}


def _by_label(judged: Judged) -> dict[str, list[int]]:
    """By the known label; an example with several stands under each of them. Tags have figures of their own."""
    labels = judged.task.labels()
    if not labels:
        return {}
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(judged.examples):
        for label in {example.answer} if isinstance(example.answer, str) else _names(example.answer):
            rows[label].append(place)
    return {label: rows[label] for label in labels if label in rows}


def _names(answer: Any) -> set[str]:
    return {name for name in answer if isinstance(name, str)} if isinstance(answer, tuple) else set()


def _columns(judged: Judged) -> Iterable[str]:
    return dict.fromkeys(name for example in judged.examples for name in example.groups)


def _by_column(judged: Judged, column: str) -> dict[str, list[int]]:
    return _gathered(example.groups.get(column, "") or "(empty)" for example in judged.examples)


def _gathered(names: Iterable[Any]) -> dict[Any, list[int]]:
    rows: defaultdict[Any, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        rows[name].append(place)
    return dict(rows)
