"""A model's score on a file of examples, with what was cut on the way. Knows `Task`, never a task; never trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertsmith.inference.predictor import Predictions, Predictor
from bertsmith.runtime.progress import Progress


@dataclass(frozen=True)
class Evaluation:
    """metrics: under the field's names. num_cut_examples, num_cut_tokens: what did not fit into the model's length.

    warnings: what speaks against trusting the figures.
    """

    metrics: dict[str, float]
    num_examples: int
    num_tokens: int
    num_cut_examples: int
    num_cut_tokens: int
    warnings: tuple[str, ...] = ()


def evaluate(predictor: Predictor, examples: Sequence[Any], progress: Progress | None = None) -> Evaluation:
    """Predict every example once and score the answers."""
    return score(predictor, examples, predictor.run(examples, progress=progress))


def score(predictor: Predictor, examples: Sequence[Any], answers: Predictions) -> Evaluation:
    """The evaluation of predictions that are there already."""
    metrics = predictor.task.score(examples, answers.predictions)
    return Evaluation(metrics, len(examples), answers.num_tokens, answers.num_cut_requests, answers.num_cut_tokens)
