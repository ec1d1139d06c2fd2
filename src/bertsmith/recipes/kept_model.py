"""The model of a fine-tuning run, from the first that is kept to the last word on it. Knows no data format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.evaluation.evaluate import Evaluation, evaluate, evaluate_together
from bertsmith.inference.predictor import Predictor
from bertsmith.model.lora import merged
from bertsmith.recipes.examples import Examples
from bertsmith.recipes.job import Job
from bertsmith.recipes.merge import save_run_adapter, update_run_adapter
from bertsmith.runtime.interruption import asked, raise_if
from bertsmith.runtime.processes import Processes
from bertsmith.training.judge import Hooks, Metrics
from bertsmith.training.result import TrainingResult


@dataclass(frozen=True)
class Measured:
    """A saved model's evaluation on the validation examples and, if there are any, on the test examples."""

    evaluation: Evaluation
    test: Evaluation | None


@dataclass
class KeptModel:
    """The best model so far, in the job's folder. base: what it was made of; empty for new weights.

    settings: of the run, for the record. tunes: whether temperature and thresholds are fitted at the end. measured: the
    last word, once there is one.
    """

    job: Job
    examples: Examples
    settings: Mapping[str, Any]
    base: str
    tunes: bool
    group: Processes
    measured: Measured | None = None

    @property
    def hooks(self) -> Hooks:
        """By which training judges, keeps and ends."""
        return Hooks(self._judge, self._keep, self._finish)

    def measure(self) -> None:
        """The saved model, of a run that is over."""
        self.measured = self.group.from_first(lambda: self._measured(self._predictor(load_artifact(self.job.folder))))

    def _judge(self) -> Metrics:
        job = self.job
        predictor = Predictor(job.task, job.network, job.tokenizer, job.training.precision)
        return evaluate_together(predictor, self.examples.validation, self.group).metrics

    def _keep(self, step: int, metrics: Metrics) -> None:
        self.group.from_first(lambda: self._save(step, metrics))

    def _save(self, step: int, metrics: Metrics) -> None:
        job = self.job
        record = self._record(step) | {"metrics": {"validation": dict(metrics)}}
        artifact = Artifact(job.task, job.network, job.tokenizer, record)
        save_artifact(job.folder, replace(artifact, network=merged(job.network)))
        save_run_adapter(job.folder, artifact, base=self.base)

    def _finish(self, result: TrainingResult) -> None:
        self.measured = self.group.from_first(lambda: self._last_word(result))

    def _last_word(self, result: TrainingResult) -> Measured:
        """Tune the best model on the validation examples, save it so, and measure it."""
        saved = load_artifact(self.job.folder)
        best = self._predictor(saved)
        if self.tunes:
            parts = best.run(self.examples.validation, keep_parts=True).parts
            best = replace(best, task=best.task.tuned(self.examples.validation, parts))
        raise_if(asked())
        measured = self._measured(best)
        sides = {"validation": measured.evaluation} | ({} if measured.test is None else {"test": measured.test})
        record = self._record(result.best_step) | {
            "training": {"best_step": result.best_step, "truncation": asdict(result.truncation)},
            "evaluations": [found.record(side) for side, found in sides.items()],
        }
        artifact = replace(saved, task=best.task, record=record)
        raise_if(asked())
        save_artifact(self.job.folder, artifact)
        update_run_adapter(self.job.folder, artifact)
        return measured

    def _predictor(self, artifact: Artifact) -> Predictor:
        training = self.job.training
        return Predictor.of(artifact, device=training.device, precision=training.precision)

    def _measured(self, predictor: Predictor) -> Measured:
        evaluation = evaluate(predictor, self.examples.validation, intervals=True)
        raise_if(asked())
        test = evaluate(predictor, self.examples.test, intervals=True) if self.examples.test else None
        return Measured(evaluation, test)

    def _record(self, step: int | None) -> dict[str, Any]:
        return {"settings": dict(self.settings), "data": self.job.data, "training": {"best_step": step}}
