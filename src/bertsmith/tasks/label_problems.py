"""The three things that labels can be: one class of several, any number of them, or a number.

A problem is a plain object over the settings of classification: what an answer is, its loss, what logits say, and how
well. It knows logits and answers; not texts, tokens or networks.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from bertsmith.errors import DataError, nearest
from bertsmith.tasks.task import Marks
from bertsmith.text.windows import WindowSettings

Array: TypeAlias = NDArray[np.float64]
Texts: TypeAlias = Sequence[tuple[str, ...]]
ProblemType = Literal["single_label", "multi_label", "regression"]
DEFAULT_THRESHOLD = 0.5


class ClassificationSettings(WindowSettings):
    problem_type: ProblemType = Field(
        "single_label", description="one label a text, any number of labels (multi_label), or a number (regression)"
    )
    labels: tuple[str, ...] = Field((), description="label names in the order of the logits; empty: from the data")
    pairs: bool | None = Field(None, description="whether texts come in pairs; None: as in training, or either way")
    label_separator: str = Field("|", min_length=1, description="between the labels of one cell, for multi_label")
    window_merging: Literal["mean", "max"] = Field(
        "mean", description="how the logits of a long text's windows become one: their mean, or the largest"
    )
    balanced: bool = Field(
        False, description="weigh each label's loss by the inverse of its frequency in training, without class_weights"
    )
    class_weights: dict[str, float] = Field({}, description="weight of each label in the loss; those unsaid have 1")
    focal_gamma: float = Field(
        0.0, ge=0, description="focal loss: how much less an example counts that is easy already; 0: cross-entropy"
    )
    temperature: float = Field(1.0, gt=0, description="logits are divided by it; fitted on validation data")
    thresholds: tuple[float, ...] = Field(
        (), description="probability from which each label is given, for multi_label; fitted on validation data"
    )

    mean_value: float = Field(
        0.0, allow_inf_nan=False, description="where a regression's new head starts: the mean of the training numbers"
    )

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) == 1 or len(set(labels)) < len(labels) or "" in labels:
            raise ValueError(f"expected two names or more, none empty and none twice, not {', '.join(labels)}")
        return labels


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the logits of one text say. label: the likeliest; score: its probability, or the value of a regression.

    labels: those given, where there may be several. scores: the probability of every label.
    """

    label: str | None
    score: float
    scores: dict[str, float]
    labels: tuple[str, ...] = ()


class Problem(ABC):
    """Shapes: n texts, L labels."""

    def __init__(self, settings: ClassificationSettings):
        self.settings = settings

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, int]:
        """As in the task contract."""

    @property
    def num_logits(self) -> int:
        return len(self.settings.labels)

    @abstractmethod
    def answer(self, value: Any, where: str) -> Any:
        """The known answer in a record's cell."""

    @abstractmethod
    def learned(self, answers: Sequence[Any], places: Sequence[str]) -> dict[str, Any]:
        """The settings that training answers decide."""

    @property
    def first_bias(self) -> float:
        """What a new head says of every text before it has learned anything."""
        return 0.0

    @abstractmethod
    def target(self, answer: Any, where: str) -> Any:
        """What the loss compares with: an index, L zeros and ones, or a number."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighed loss of each text, [n]; its mean is taken over the sum of `text_weights`."""

    def text_weights(self, targets: Tensor) -> Tensor:
        """[n], of each text in the loss."""
        return torch.ones(len(targets))

    @abstractmethod
    def verdict(self, logits: Array) -> Verdict:
        """[L] -> what they say."""

    @abstractmethod
    def marks(self, answers: Sequence[Any], verdicts: Sequence[Verdict]) -> Marks: ...

    @abstractmethod
    def metrics_of(self, marks: Marks) -> dict[str, float]: ...

    @abstractmethod
    def credit(self, marks: Marks) -> Array: ...

    @abstractmethod
    def baselines(self, train: Texts, answers: Sequence[Any], test: Texts) -> dict[str, list[Verdict]]: ...

    def confidences(self, answers: Sequence[Any], verdicts: Sequence[Verdict]) -> tuple[Array, Array]:
        return np.empty(0), np.empty(0)

    def tuned(self, answers: Sequence[Any], logits: Array) -> dict[str, Any]:
        """The settings that held-out answers decide, with their logits [n, L]."""
        return {}

    def weights(self) -> Tensor:
        """[L] of the loss."""
        return torch.tensor([self.settings.class_weights.get(label, 1.0) for label in self.settings.labels])

    def _label_settings(self, labels: tuple[str, ...], counts: Counter[str], total: int) -> dict[str, Any]:
        """Label names, and the weights that settings or balance give them."""
        for label in self.settings.class_weights:
            if label not in labels:
                raise DataError(f"class_weights: no label {label!r}; {nearest(label, labels)}")
        update: dict[str, Any] = {"labels": labels}
        if self.settings.balanced and not self.settings.class_weights:
            update["class_weights"] = {
                label: total / (len(labels) * counts[label]) for label in labels if counts[label]
            }
        return update


def ordered(labels: Mapping[str, int]) -> tuple[str, ...]:
    whole = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in labels)
    return tuple(sorted(labels, key=int)) if whole else tuple(sorted(labels))


def index_of(label: str, labels: Sequence[str], where: str) -> int:
    try:
        return labels.index(label)
    except ValueError:
        raise DataError(f"{where}: label {label!r} is not one of the model's; {nearest(label, labels)}") from None


def focal(values: Tensor, gamma: float) -> Tensor:
    """Cross-entropy -log p weighed by (1 - p)^gamma (Lin et al. 2017); kept from 0, where its slope may be infinite."""
    return values if gamma == 0 else values * (-torch.expm1(-values)).clamp_min(1e-7) ** gamma


def likeliest(scores: dict[str, float]) -> Verdict:
    label = max(scores, key=scores.__getitem__)
    return Verdict(label, scores[label], scores)


def softmax(logits: Array) -> Array:
    exponentials: Array = np.exp(logits - logits.max())
    probabilities: Array = exponentials / exponentials.sum()
    return probabilities


def sigmoid(logits: Array) -> Array:
    probabilities: Array = 1 / (1 + np.exp(-logits))
    return probabilities
