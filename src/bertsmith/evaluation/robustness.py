"""What small changes of the texts do to a model's answers: flips, and figures before and after.

Knows `Task`, never a task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bertsmith.data.order import sample_rng
from bertsmith.evaluation.compare import MetricComparison, compare_metrics
from bertsmith.evaluation.evaluate import Judged, judge
from bertsmith.evaluation.intervals import Interval, bootstrap
from bertsmith.evaluation.mistakes import Mistake, mistake
from bertsmith.inference.predictor import Predictor
from bertsmith.runtime.progress import Progress
from bertsmith.text.noise import TextChange

MAX_FAILURES = 50
"""Of a change that are kept to be shown."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that a change made less right: the example as it was, and as it was changed."""

    before: Mistake
    after: Mistake


@dataclass(frozen=True)
class ChangeEffect:
    """One change of all examples.

    num_changed: examples whose texts are not as they were. num_flips: of those, the ones decided otherwise; None for a
    task whose predictions decide nothing. num_lost, num_gained: less right than before, and more. metrics: each after
    the change compared with before, on the same examples. failures: the first of those lost, most lost first.
    """

    name: str
    what: str
    num_changed: int
    num_flips: int | None
    num_lost: int
    num_gained: int
    metrics: dict[str, MetricComparison]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Robustness:
    """main: the metric that is shown. before: of the examples as they are. left_out: changes that do not suit it."""

    main: str
    num_examples: int
    before: dict[str, Interval]
    effects: tuple[ChangeEffect, ...]
    left_out: tuple[str, ...]


def robustness(
    predictor: Predictor,
    examples: Sequence[Any],
    changes: Sequence[TextChange],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Robustness:
    """Judge the examples as they are and under each change that the task takes.

    What a change draws for an example is a function of (seed, place of the example) alone.
    """
    task = predictor.task
    before = judge(predictor, examples, progress)
    taken = [change for change in changes if task.takes(change)]
    effects = [_effect(predictor, before, change, seed, progress) for change in taken]
    found = bootstrap(before.marked)
    return Robustness(
        next(name for name in task.metrics if name in found),
        len(examples),
        found,
        tuple(effects),
        tuple(change.name for change in changes if change not in taken),
    )


def _effect(
    predictor: Predictor, before: Judged, change: TextChange, seed: int, progress: Progress | None
) -> ChangeEffect:
    task = predictor.task
    after = _changed(predictor, before, change, seed, progress)
    pairs = list(zip(before.examples, after.examples, strict=True))
    moved = [place for place, (first, second) in enumerate(pairs) if first.request != second.request]
    answers = before.answers.predictions, after.answers.predictions
    decides = any(not task.decided(answer).is_nothing for answer in answers[0])
    agree = [task.agrees(answers[0][i], answers[1][i], in_place=change.keeps_places) for i in moved]
    loss = task.credit(before.marks) - task.credit(after.marks)
    order = np.argsort(-loss, kind="stable")[:MAX_FAILURES].tolist()
    return ChangeEffect(
        change.name,
        change.what,
        len(moved),
        agree.count(False) if decides else None,
        int((loss > 0).sum()),
        int((loss < 0).sum()),
        compare_metrics([after.marked], [before.marked], task.metrics),
        tuple(Failure(mistake(before, i), mistake(after, i)) for i in order if loss[i] > 0),
    )


def _changed(predictor: Predictor, before: Judged, change: TextChange, seed: int, progress: Progress | None) -> Judged:
    """The changed examples with their answers; those that the change left alone keep theirs."""
    task = predictor.task
    changed = [task.changed(example, change, sample_rng(seed, 0, i)) for i, example in enumerate(before.examples)]
    moved = [i for i, example in enumerate(changed) if example.request != before.examples[i].request]
    answers = list(before.answers.predictions)
    if moved:
        again = predictor.run([changed[i] for i in moved], numbers=moved, progress=progress)
        for place, answer in zip(moved, again.predictions, strict=True):
            answers[place] = answer
    return Judged(
        task, changed, replace(before.answers, predictions=answers), task.marks(changed, answers), before.precision
    )
