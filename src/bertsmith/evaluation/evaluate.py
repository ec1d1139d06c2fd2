"""A model's figures on examples, with their intervals and what was cut on the way. Knows `Task`, never a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from bertsmith.evaluation.intervals import Interval, Marked, Marks, bootstrap
from bertsmith.inference.predictor import Predictions, Predictor
from bertsmith.runtime.device import PredictionPrecision, pick_precision
from bertsmith.runtime.interruption import asked, raise_if
from bertsmith.runtime.processes import Processes
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Task


@dataclass(frozen=True)
class Evaluation:
    """metrics: under the field's names. num_cut_examples, num_cut_tokens: what did not fit into the model's length.

    num_windowed_examples: those read in several windows. intervals: of each metric, where they were asked for.
    precision: in which they were computed. warnings: what speaks against trusting the figures.
    """

    metrics: dict[str, float]
    num_examples: int
    num_tokens: int
    num_cut_examples: int
    num_cut_tokens: int
    num_windowed_examples: int = 0
    warnings: tuple[str, ...] = ()
    intervals: dict[str, Interval] = field(default_factory=dict)
    precision: PredictionPrecision = "auto"

    @property
    def cut(self) -> str:
        """What was not read, and how many examples were read in several windows so that nothing was cut."""
        further = f"; {self.num_windowed_examples:,} read in several windows" if self.num_windowed_examples else ""
        if not self.num_cut_tokens:
            return f"nothing{further}"
        return f"{self.num_cut_tokens:,} tokens of {self.num_cut_examples:,} examples{further}"

    def record(self, split: str) -> dict[str, Any]:
        """What a saved model keeps of it under `evaluations`, for `verify` to compute again; needs the intervals."""
        assert self.intervals, "figures are kept with their intervals"
        return EvaluationRecord(split, self.num_examples, self.precision, self.intervals).to_dict()


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """Figures that a saved model stands for. split: the side of its data that they were computed on."""

    split: str
    num_examples: int
    precision: PredictionPrecision
    metrics: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        metrics = {name: Interval(**interval) for name, interval in values["metrics"].items()}
        return cls(values["split"], values["num_examples"], values["precision"], metrics)


@dataclass(frozen=True)
class Judged:
    """Examples, what a model answered, and what each answer is worth: `marks` as the task has them, a row each."""

    task: Task[Any, Any]
    examples: Sequence[Any]
    answers: Predictions
    marks: Marks
    precision: PredictionPrecision

    @property
    def marked(self) -> Marked:
        return Marked(self.task.metrics_of, self.marks)

    def evaluation(self, intervals: Mapping[str, Interval] | None = None) -> Evaluation:
        answers = self.answers
        return Evaluation(
            self.task.metrics_of(self.marks),
            len(self.examples),
            answers.num_tokens,
            answers.num_cut_requests,
            answers.num_cut_tokens,
            answers.num_windowed_requests,
            intervals=dict(intervals or {}),
            precision=self.precision,
        )


def judge(predictor: Predictor, examples: Sequence[Any], progress: Progress | None = None) -> Judged:
    """Predict every example once and mark the answers."""
    return _judged(predictor, examples, predictor.run(examples, progress=progress))


def _judged(predictor: Predictor, examples: Sequence[Any], answers: Predictions) -> Judged:
    precision = pick_precision(predictor.precision, next(predictor.network.parameters()).device)
    return Judged(predictor.task, examples, answers, predictor.task.marks(examples, answers.predictions), precision)


def evaluate_together(predictor: Predictor, examples: Sequence[Any], group: Processes) -> Evaluation:
    """As `evaluate`, each of the processes predicting its share; every example counts once, and all get the figures.

    Where one of them was asked to stop, all raise `InterruptedRunError` when they are through.
    """
    if group.size == 1:
        return evaluate(predictor, examples)
    own = range(group.rank, len(examples), group.size)
    told = group.gather((predictor.run([examples[number] for number in own], numbers=own), asked()))
    raise_if(next((name for _, name in told if name is not None), None))
    parts = [part for part, _ in told]
    predictions = [parts[number % group.size].predictions[number // group.size] for number in range(len(examples))]
    answers = Predictions(
        predictions,
        sum(part.num_tokens for part in parts),
        sum(part.num_cut_requests for part in parts),
        sum(part.num_cut_tokens for part in parts),
        sum(part.num_windowed_requests for part in parts),
    )
    return _judged(predictor, examples, answers).evaluation()


def evaluate(
    predictor: Predictor, examples: Sequence[Any], progress: Progress | None = None, *, intervals: bool = False
) -> Evaluation:
    """The metrics of a model on examples; their 95% intervals cost a second or so."""
    judged = judge(predictor, examples, progress)
    return judged.evaluation(bootstrap(judged.marked) if intervals else None)
