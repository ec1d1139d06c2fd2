"""A model's figures on examples, with their intervals and what was cut on the way. Knows `Task`, never a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from bertsmith.data.batch import Truncation
from bertsmith.evaluation.calibration import Reliability, reliability
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

    num_windowed_examples: those read in several windows. intervals: of each metric, where they were asked for; so too
    calibration, of the probabilities, for tasks that give some: ece (expected calibration error) and log_loss.
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
    calibration: dict[str, float] = field(default_factory=dict)

    @property
    def cut(self) -> str:
        """What was not read, and how many examples were read in several windows so that nothing was cut."""
        return str(
            Truncation(self.num_examples, self.num_cut_examples, self.num_cut_tokens, self.num_windowed_examples)
        )

    def record(self, split: str) -> dict[str, Any]:
        """What a saved model keeps of it under `evaluations`, for `verify` to compute again; needs the intervals."""
        assert self.intervals, "figures are kept with their intervals"
        return EvaluationRecord(split, self.num_examples, self.precision, self.intervals, self.calibration).to_dict()


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """Figures that a saved model stands for. split: the side of its data that they were computed on.

    calibration: as in `Evaluation`.
    """

    split: str
    num_examples: int
    precision: PredictionPrecision
    metrics: Mapping[str, Interval]
    calibration: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        metrics = {name: Interval(**interval) for name, interval in values["metrics"].items()}
        calibration = {name: float(value) for name, value in values["calibration"].items()}
        return cls(values["split"], values["num_examples"], values["precision"], metrics, calibration)


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

    def reliability(self, temperature: float | None = None) -> Reliability | None:
        """Of the answers' probabilities; None for a task without any.

        temperature: as they were with this one, from the answers' parts.
        """
        task, predictions = self.task, self.answers.predictions
        if temperature is not None:
            task = task.tempered(temperature)
            parts = zip(self.examples, self.answers.parts, strict=True)
            predictions = [task.merge(example.request, row, 0) for example, row in parts]
        decisions = task.confidences(self.examples, predictions)
        return reliability(*decisions) if len(decisions[0]) else None

    def evaluation(self, intervals: Mapping[str, Interval] | None = None) -> Evaluation:
        answers = self.answers
        known = self.reliability() if intervals else None
        return Evaluation(
            self.task.metrics_of(self.marks),
            len(self.examples),
            answers.num_tokens,
            answers.num_cut_requests,
            answers.num_cut_tokens,
            answers.num_windowed_requests,
            intervals=dict(intervals or {}),
            precision=self.precision,
            calibration={} if known is None else {"ece": known.ece, "log_loss": known.log_loss},
        )


def judge(
    predictor: Predictor, examples: Sequence[Any], progress: Progress | None = None, *, keep_parts: bool = False
) -> Judged:
    """Predict every example once and mark the answers. keep_parts: what another temperature can be tried on."""
    return _judged(predictor, examples, predictor.run(examples, keep_parts=keep_parts, progress=progress))


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
    """The metrics of a model on examples; their 95% intervals, and the calibration, cost a second or so."""
    judged = judge(predictor, examples, progress)
    return judged.evaluation(bootstrap(judged.marked) if intervals else None)
