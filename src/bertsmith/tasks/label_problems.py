"""The three things that labels can be: one class of several, any number of them, or a number.

A problem is a plain object over the settings of classification: what an answer is, its loss, what logits say, and how
well. It knows logits and answers; not texts, tokens or networks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from bertsmith.baselines import majority, tfidf_logistic, tfidf_multi_label, tfidf_ridge
from bertsmith.calibration import best_threshold, fit_binary_temperature, fit_temperature
from bertsmith.data.columns import check_labels, class_name
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
    label_separator: str = Field("|", min_length=1, description="between the labels of one cell, for multi_label")
    window_merging: Literal["mean", "max"] = Field(
        "mean", description="how the logits of a long text's windows become one: their mean, or the largest"
    )
    balanced: bool = Field(False, description="weigh each label's loss by the inverse of its frequency in training")
    class_weights: dict[str, float] = Field({}, description="weight of each label in the loss; those unsaid have 1")
    focal_gamma: float = Field(
        0.0, ge=0, description="focal loss: how much less an example counts that is easy already; 0: cross-entropy"
    )
    temperature: float = Field(1.0, gt=0, description="logits are divided by it; fitted on validation data")
    thresholds: tuple[float, ...] = Field(
        (), description="probability from which each label is given, for multi_label; fitted on validation data"
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

    @abstractmethod
    def target(self, answer: Any, where: str) -> Any:
        """What the loss compares with: an index, L zeros and ones, or a number."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each text, [n], and its weight, [n], over whose sum the mean is taken."""

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


class SingleLabel(Problem):
    """One of L labels: a softmax. An answer is its name."""

    @property
    def metrics(self) -> Mapping[str, int]:
        f1 = {"f1": 1} if len(self.settings.labels) == 2 else {}
        return {"accuracy": 1, **f1, "f1_macro": 1, "matthews_correlation": 1}

    def answer(self, value: Any, where: str) -> str:
        """White space is dropped, `1` and `1.0` of typed files are both `"1"`."""
        name = class_name(value)
        if not name:
            raise DataError(f"{where}: no label: {value!r:.60}")
        return name

    def learned(self, answers: Sequence[str], places: Sequence[str]) -> dict[str, Any]:
        """Names in numeric order where all are whole numbers, else in that of their strings."""
        counts = Counter(answers)
        if self.settings.labels:
            check_labels(answers, places, self.settings.labels)
            return self._label_settings(self.settings.labels, counts, len(answers))
        if len(counts) < 2:
            raise DataError(f"classification needs at least two labels in the training data, found {sorted(counts)}")
        return self._label_settings(_ordered(counts), counts, len(answers))

    def target(self, answer: str, where: str) -> int:
        return _index(answer, self.settings.labels, where)

    def loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.weights().to(logits)[targets]
        values = F.cross_entropy(logits, targets, reduction="none")
        return _focal(values, self.settings.focal_gamma) * weight, weight

    def verdict(self, logits: Array) -> Verdict:
        probabilities = _softmax(logits / self.settings.temperature)
        return _likeliest(dict(zip(self.settings.labels, probabilities.tolist(), strict=True)))

    def marks(self, answers: Sequence[str], verdicts: Sequence[Verdict]) -> Marks:
        """[n, 2]: the places of the known and of the given label."""
        place = {label: index for index, label in enumerate(self.settings.labels)}
        rows = [(place.get(a, -1), place[str(v.label)]) for a, v in zip(answers, verdicts, strict=True)]
        return np.array(rows, dtype=float).reshape(-1, 2)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """accuracy; f1 of the second of two labels; f1_macro: F1's plain mean over the labels that are known or given
        here; matthews_correlation: 0 where either side has one label only."""
        known, given = marks.astype(int).T + 1  # a label that the model does not know has the place -1
        num = self.num_logits + 1
        counts = np.bincount(known * num + given, minlength=num * num).reshape(num, num)
        of_known, of_given, right = counts.sum(1), counts.sum(0), counts.diagonal()
        f1 = _f1(right, of_known, of_given)
        metrics = {
            "accuracy": float(right.sum() / max(1, len(marks))),
            "f1": float(f1[-1]),
            "f1_macro": float(f1[of_known + of_given > 0].mean()),
            "matthews_correlation": _matthews(right.sum(), of_known, of_given),
        }
        return {name: metrics[name] for name in self.metrics}

    def credit(self, marks: Marks) -> Array:
        right: Array = (marks[:, 0] == marks[:, 1]).astype(float)
        return right

    def confidences(self, answers: Sequence[str], verdicts: Sequence[Verdict]) -> tuple[Array, Array]:
        right = [answer == verdict.label for answer, verdict in zip(answers, verdicts, strict=True)]
        return np.array([verdict.score for verdict in verdicts]), np.array(right, dtype=float)

    def tuned(self, answers: Sequence[str], logits: Array) -> dict[str, Any]:
        known = np.array([self.settings.labels.index(answer) for answer in answers])
        return {"temperature": fit_temperature(logits, known)}

    def baselines(self, train: Texts, answers: Sequence[str], test: Texts) -> dict[str, list[Verdict]]:
        words = tfidf_logistic(train, answers, test)
        rows = [dict(zip(words.labels, row.tolist(), strict=True)) for row in words.probabilities]
        named = {"TF-IDF + logistic regression": [_likeliest(row) for row in rows]}
        if len(train[0]) == 2:
            more = tfidf_logistic(train, answers, test, overlap=True)
            rows = [dict(zip(more.labels, row.tolist(), strict=True)) for row in more.probabilities]
            named["TF-IDF and overlap + logistic regression"] = [_likeliest(row) for row in rows]
        share = Counter(answers)
        constant = [Verdict(label, share[label] / len(answers), {}) for label in majority(answers, len(test))]
        return {"majority": constant, **named}


class MultiLabel(Problem):
    """Any number of L labels: a sigmoid and a threshold each. An answer is a tuple of names, maybe empty."""

    metrics: ClassVar = {"f1_micro": 1, "f1_macro": 1, "exact_match": 1}

    def answer(self, value: Any, where: str) -> tuple[str, ...]:
        """A list of names, or one cell with a separator between them."""
        if isinstance(value, str):
            value = [part for part in value.split(self.settings.label_separator) if part.strip()]
        if not isinstance(value, list | tuple):
            raise DataError(f"{where}: expected a list of labels, found {value!r:.60}")
        names = [class_name(part) for part in value]
        if not all(names):
            raise DataError(f"{where}: a label without a name in {value!r:.60}")
        return tuple(dict.fromkeys(str(name) for name in names))

    def learned(self, answers: Sequence[tuple[str, ...]], places: Sequence[str]) -> dict[str, Any]:
        pairs = [(label, place) for answer, place in zip(answers, places, strict=True) for label in answer]
        counts = Counter(label for label, _ in pairs)
        if self.settings.labels:
            check_labels([label for label, _ in pairs], [place for _, place in pairs], self.settings.labels)
            return self._label_settings(self.settings.labels, counts, len(answers))
        if len(counts) < 2:
            raise DataError(f"classification needs at least two labels in the training data, found {sorted(counts)}")
        return self._label_settings(_ordered(counts), counts, len(answers))

    def target(self, answer: tuple[str, ...], where: str) -> list[float]:
        row = [0.0] * self.num_logits
        for label in answer:
            row[_index(label, self.settings.labels, where)] = 1.0
        return row

    def loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """A text's loss is the mean over its labels."""
        values = _focal(
            F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), self.settings.focal_gamma
        )
        return (values * self.weights().to(logits)).mean(-1), torch.ones_like(logits[:, 0])

    def verdict(self, logits: Array) -> Verdict:
        probabilities = _sigmoid(logits / self.settings.temperature)
        best = _likeliest(dict(zip(self.settings.labels, probabilities.tolist(), strict=True)))
        thresholds = self.settings.thresholds or (DEFAULT_THRESHOLD,) * self.num_logits
        given = [p >= t for p, t in zip(best.scores.values(), thresholds, strict=True)]
        labels = tuple(label for label, is_given in zip(best.scores, given, strict=True) if is_given)
        return Verdict(best.label, best.score, best.scores, labels)

    def marks(self, answers: Sequence[tuple[str, ...]], verdicts: Sequence[Verdict]) -> Marks:
        """[n, 2 L]: which labels are known, and which are given."""
        names = self.settings.labels
        known = [[label in answer for label in names] for answer in answers]
        given = [[label in verdict.labels for label in names] for verdict in verdicts]
        return np.hstack([np.array(known, dtype=float), np.array(given, dtype=float)])

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """f1_micro: over all decisions; f1_macro: F1's mean over the labels, 0 for one neither known nor given;
        exact_match: the share of texts with exactly the known labels."""
        known, given = np.split(marks, 2, axis=1)
        sums = [side.sum(axis=0) for side in (known * given, known, given)]
        return {
            "f1_micro": float(_f1(*(side.sum() for side in sums))),
            "f1_macro": float(_f1(*sums).mean()),
            "exact_match": float(self.credit(marks).mean()),
        }

    def credit(self, marks: Marks) -> Array:
        known, given = np.split(marks, 2, axis=1)
        right: Array = (known == given).all(axis=1).astype(float)
        return right

    def confidences(self, answers: Sequence[tuple[str, ...]], verdicts: Sequence[Verdict]) -> tuple[Array, Array]:
        """Of every label of every text: the probability of the label being there, or not there, as was said."""
        scores = np.array([list(verdict.scores.values()) for verdict in verdicts])
        known = np.array([[label in answer for label in self.settings.labels] for answer in answers])
        said = scores >= DEFAULT_THRESHOLD
        return np.where(said, scores, 1 - scores).ravel(), (said == known).astype(float).ravel()

    def tuned(self, answers: Sequence[tuple[str, ...]], logits: Array) -> dict[str, Any]:
        known = np.array([self.target(answer, "validation") for answer in answers])
        temperature = fit_binary_temperature(logits.ravel(), known.ravel())
        scores = _sigmoid(logits / temperature)
        thresholds = tuple(best_threshold(scores[:, i], known[:, i]) for i in range(self.num_logits))
        return {"temperature": temperature, "thresholds": thresholds}

    def baselines(self, train: Texts, answers: Sequence[Any], test: Texts) -> dict[str, list[Verdict]]:
        known = np.array([self.target(answer, "training") for answer in answers])
        scores = tfidf_multi_label(train, known, test)
        return {
            "most frequent labels": [self._said(known.mean(axis=0))] * len(test),
            "TF-IDF + logistic regression": [self._said(row) for row in scores],
        }

    def _said(self, probabilities: Array) -> Verdict:
        best = _likeliest(dict(zip(self.settings.labels, probabilities.tolist(), strict=True)))
        labels = tuple(label for label, score in best.scores.items() if score >= DEFAULT_THRESHOLD)
        return Verdict(best.label, best.score, best.scores, labels)


class Regression(Problem):
    """A number. Its loss is the squared error."""

    metrics: ClassVar = {"spearmanr": 1, "pearson": 1, "mean_squared_error": -1}

    @property
    def num_logits(self) -> int:
        return 1

    def answer(self, value: Any, where: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise DataError(f"{where}: expected a number, found {value!r:.60}") from None
        if not math.isfinite(number) or isinstance(value, bool):
            raise DataError(f"{where}: expected a finite number, found {value!r:.60}")
        return number

    def learned(self, answers: Sequence[float], places: Sequence[str]) -> dict[str, Any]:
        if len(set(answers)) < 2:
            raise DataError(f"regression needs different numbers in the training data, found {sorted(set(answers))}")
        return {}

    def target(self, answer: float, where: str) -> float:
        return answer

    def loss(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        values = (logits.squeeze(-1) - targets) ** 2
        return values, torch.ones_like(values)

    def verdict(self, logits: Array) -> Verdict:
        return Verdict(None, float(logits[0]), {})

    def marks(self, answers: Sequence[float], verdicts: Sequence[Verdict]) -> Marks:
        """[n, 2]: the known and the given number."""
        pairs = [(answer, verdict.score) for answer, verdict in zip(answers, verdicts, strict=True)]
        return np.array(pairs, dtype=float).reshape(-1, 2)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """spearmanr: ties have their mean rank; both correlations are 0 where one side is constant."""
        from scipy.stats import pearsonr, spearmanr

        known, given = marks.T
        constant = len(marks) < 2 or np.ptp(known) == 0 or np.ptp(given) == 0
        return {
            "spearmanr": 0.0 if constant else float(spearmanr(known, given).statistic),
            "pearson": 0.0 if constant else float(pearsonr(known, given).statistic),
            "mean_squared_error": float(((known - given) ** 2).mean()),
        }

    def credit(self, marks: Marks) -> Array:
        """1 for the very number, falling with the distance in units of the known numbers' spread."""
        known, given = marks.T
        spread = float(np.ptp(known)) or 1.0
        nearness: Array = np.clip(1 - np.abs(known - given) / spread, 0.0, 1.0)
        return nearness

    def baselines(self, train: Texts, answers: Sequence[float], test: Texts) -> dict[str, list[Verdict]]:
        mean = math.fsum(answers) / len(answers)
        return {
            "mean": [Verdict(None, mean, {})] * len(test),
            "TF-IDF + ridge regression": [Verdict(None, float(v), {}) for v in tfidf_ridge(train, answers, test)],
        }


PROBLEMS: dict[ProblemType, type[Problem]] = {
    "single_label": SingleLabel,
    "multi_label": MultiLabel,
    "regression": Regression,
}


def _f1(right: Any, known: Any, given: Any) -> Any:
    """From counts; 0 where nothing is known or given. scikit-learn's takes a hundred times as long to check its input,
    which a bootstrap pays a thousand times."""
    return 2 * right / np.maximum(1, known + given)


def _matthews(right: int, known: NDArray[Any], given: NDArray[Any]) -> float:
    """Of several classes (Gorodkin 2004), from counts of each; 0 where either side has one class only."""
    known, given, total = known.astype(float), given.astype(float), float(known.sum())
    spreads = (total**2 - known @ known) * (total**2 - given @ given)
    return float((right * total - known @ given) / math.sqrt(spreads)) if spreads > 0 else 0.0


def _ordered(labels: Mapping[str, int]) -> tuple[str, ...]:
    whole = all(label.lstrip("-").isdigit() for label in labels)
    return tuple(sorted(labels, key=int)) if whole else tuple(sorted(labels))


def _index(label: str, labels: Sequence[str], where: str) -> int:
    try:
        return labels.index(label)
    except ValueError:
        raise DataError(f"{where}: label {label!r} is not one of the model's; {nearest(label, labels)}") from None


def _focal(values: Tensor, gamma: float) -> Tensor:
    """Cross-entropy -log p weighed by (1 - p)^gamma (Lin et al. 2017)."""
    return values if gamma == 0 else values * (1 - (-values).exp()) ** gamma


def _likeliest(scores: dict[str, float]) -> Verdict:
    label = max(scores, key=scores.__getitem__)
    return Verdict(label, scores[label], scores)


def _softmax(logits: Array) -> Array:
    exponentials: Array = np.exp(logits - logits.max())
    probabilities: Array = exponentials / exponentials.sum()
    return probabilities


def _sigmoid(logits: Array) -> Array:
    probabilities: Array = 1 / (1 + np.exp(-logits))
    return probabilities
