"""All that an evaluation finds, as plain records: a page draws them, JSON holds them. Knows `Task`, never a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertsmith.errors import DataError
from bertsmith.evaluation.calibration import Reliability
from bertsmith.evaluation.compare import MetricComparison, Verdict
from bertsmith.evaluation.data_check import DataCheck, check_data
from bertsmith.evaluation.evaluate import Evaluation, Judged
from bertsmith.evaluation.intervals import Interval, Marked, draw, interval_of, num_draws
from bertsmith.evaluation.mistakes import Confusion, LabelCounts, Mistake, confusion, label_counts, worst
from bertsmith.evaluation.slices import Slices, slices_of
from bertsmith.tasks import Example


@dataclass(frozen=True, slots=True)
class Baseline:
    """A simple answer's figures on the same examples, and how the model compares with it, by metric."""

    name: str
    metrics: dict[str, Interval]
    model_against: dict[str, MetricComparison]

    @property
    def verdicts(self) -> dict[str, Verdict]:
        return {name: comparison.verdict for name, comparison in self.model_against.items()}


@dataclass(frozen=True, slots=True)
class Baselines:
    """scores: of each baseline. missing: why there are none."""

    scores: tuple[Baseline, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """The examples that a model learned from, or why they are not known."""

    examples: Sequence[Example[Any]] | None
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Tempering:
    """temperature: what scores are divided by, as fitted to held-out examples. before: the reliability without it."""

    temperature: float
    before: Reliability


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found on one file.

    metrics: 1 where higher is better, -1 where lower is; the first one matters most. num_draws: of the bootstrap behind
    the intervals. reliability: with the temperature in `tempering`, which is None where none was fitted. other: the
    evaluation on another domain's file, if one was given.
    """

    task: str
    metrics: dict[str, int]
    evaluation: Evaluation
    num_draws: int
    baselines: Baselines
    reliability: Reliability | None
    confusion: Confusion | None
    labels: tuple[LabelCounts, ...]
    slices: tuple[Slices, ...]
    mistakes: tuple[Mistake, ...]
    data: DataCheck
    other: Evaluation | None = None
    tempering: Tempering | None = None

    @property
    def main(self) -> str:
        """The metric that matters most."""
        return next(name for name in self.metrics if name in self.evaluation.intervals)


def findings(judged: Judged, training: Training, other: Evaluation | None = None) -> Findings:
    """Everything about the answers to some examples; the parts that a task has no means for are None or empty."""
    task = judged.task
    others, missing = _baseline_marks(judged, training)
    intervals, scores = _with_intervals(judged, others)
    return Findings(
        task.name,
        dict(task.metrics),
        judged.evaluation(intervals),
        num_draws(len(judged.examples)),
        Baselines(scores, missing),
        judged.reliability(),
        confusion(judged),
        label_counts(judged),
        slices_of(judged),
        worst(judged),
        check_data(task, judged.examples, training.examples),
        other,
        _tempering(judged),
    )


def _tempering(judged: Judged) -> Tempering | None:
    """None too where the answers' parts were not kept."""
    temperature = judged.task.temperature
    if temperature is None or temperature == 1.0 or not judged.answers.parts:
        return None
    before = judged.reliability(1.0)
    return None if before is None else Tempering(temperature, before)


def _baseline_marks(judged: Judged, training: Training) -> tuple[dict[str, Marked], str]:
    """The marks of every baseline, or why there are none."""
    if training.examples is None:
        return {}, training.missing
    try:
        given = judged.task.baselines(training.examples, judged.examples)
    except DataError as error:
        return {}, str(error)
    marks = {name: judged.task.marks(judged.examples, predictions) for name, predictions in given.items()}
    missing = "" if marks else f"no simple baseline is known for {judged.task.name}"
    return {name: Marked(judged.task.metrics_of, rows) for name, rows in marks.items()}, missing


def _with_intervals(judged: Judged, others: Mapping[str, Marked]) -> tuple[dict[str, Interval], tuple[Baseline, ...]]:
    """The model's and the baselines' intervals and differences, from the same draws."""
    values = judged.task.metrics_of(judged.marks)
    ours, *theirs = draw([[judged.marked], *([marked] for marked in others.values())], values)
    intervals = {name: interval_of(value, ours[name]) for name, value in values.items()}
    scores = []
    for (baseline, marked), samples in zip(others.items(), theirs, strict=True):
        known = marked.metrics_of(marked.marks)
        metrics = {name: interval_of(known[name], samples[name]) for name in values}
        against = {
            name: MetricComparison(
                value,
                known[name],
                interval_of(value - known[name], ours[name] - samples[name]),
                judged.task.metrics.get(name, 1) > 0,
            )
            for name, value in values.items()
        }
        scores.append(Baseline(baseline, metrics, against))
    return intervals, tuple(scores)
