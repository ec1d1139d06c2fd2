"""Labels as classes: one of several, or any number of them, each with a threshold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.baselines import majority, tfidf_logistic, tfidf_multi_label
from bertsmith.calibration import best_threshold, fit_binary_temperature, fit_temperature
from bertsmith.data.columns import check_labels, class_name
from bertsmith.errors import DataError
from bertsmith.tasks.label_problems import (
    DEFAULT_THRESHOLD,
    Array,
    Problem,
    Texts,
    Verdict,
    focal,
    index_of,
    likeliest,
    ordered,
    sigmoid,
    softmax,
)
from bertsmith.tasks.task import Marks


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
        return self._label_settings(ordered(counts), counts, len(answers))

    def target(self, answer: str, where: str) -> int:
        return index_of(answer, self.settings.labels, where)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        values = focal(F.cross_entropy(logits, targets, reduction="none"), self.settings.focal_gamma)
        return values * self.text_weights(targets).to(logits)

    def text_weights(self, targets: Tensor) -> Tensor:
        return self.weights().to(targets.device)[targets]

    def verdict(self, logits: Array) -> Verdict:
        probabilities = softmax(logits / self.settings.temperature)
        return likeliest(dict(zip(self.settings.labels, probabilities.tolist(), strict=True)))

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
        named = {"TF-IDF + logistic regression": [likeliest(row) for row in rows]}
        if len(train[0]) == 2:
            more = tfidf_logistic(train, answers, test, overlap=True)
            rows = [dict(zip(more.labels, row.tolist(), strict=True)) for row in more.probabilities]
            named["TF-IDF and overlap + logistic regression"] = [likeliest(row) for row in rows]
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
            raise DataError(f"{where}: expected a list of labels: found {value!r:.60}")
        names = [class_name(part) for part in value]
        if not all(names):
            raise DataError(f"{where}: a label without a name: {value!r:.60}")
        return tuple(dict.fromkeys(str(name) for name in names))

    def learned(self, answers: Sequence[tuple[str, ...]], places: Sequence[str]) -> dict[str, Any]:
        pairs = [(label, place) for answer, place in zip(answers, places, strict=True) for label in answer]
        counts = Counter(label for label, _ in pairs)
        if self.settings.labels:
            check_labels([label for label, _ in pairs], [place for _, place in pairs], self.settings.labels)
            return self._label_settings(self.settings.labels, counts, len(answers))
        if len(counts) < 2:
            raise DataError(f"classification needs at least two labels in the training data, found {sorted(counts)}")
        return self._label_settings(ordered(counts), counts, len(answers))

    def target(self, answer: tuple[str, ...], where: str) -> list[float]:
        row = [0.0] * self.num_logits
        for label in answer:
            row[index_of(label, self.settings.labels, where)] = 1.0
        return row

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """A text's loss is the mean over its labels."""
        values = focal(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), self.settings.focal_gamma)
        return (values * self.weights().to(logits)).mean(-1)

    def verdict(self, logits: Array) -> Verdict:
        probabilities = sigmoid(logits / self.settings.temperature)
        best = likeliest(dict(zip(self.settings.labels, probabilities.tolist(), strict=True)))
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
        """Of every label of every text: the probability of it being there, or not there, whichever is likelier."""
        scores = np.array([list(verdict.scores.values()) for verdict in verdicts])
        known = np.array([[label in answer for label in self.settings.labels] for answer in answers])
        said = scores >= DEFAULT_THRESHOLD
        return np.where(said, scores, 1 - scores).ravel(), (said == known).astype(float).ravel()

    def tuned(self, answers: Sequence[tuple[str, ...]], logits: Array) -> dict[str, Any]:
        known = np.array([self.target(answer, "validation") for answer in answers])
        temperature = fit_binary_temperature(logits.ravel(), known.ravel())
        scores = sigmoid(logits / temperature)
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
        best = likeliest(dict(zip(self.settings.labels, probabilities.tolist(), strict=True)))
        labels = tuple(label for label, score in best.scores.items() if score >= DEFAULT_THRESHOLD)
        return Verdict(best.label, best.score, best.scores, labels)


def _f1(right: Any, known: Any, given: Any) -> Any:
    """From counts; 0 where nothing is known or given. scikit-learn's takes a hundred times as long to check its input,
    which a bootstrap pays a thousand times."""
    return 2 * right / np.maximum(1, known + given)


def _matthews(right: int, known: NDArray[Any], given: NDArray[Any]) -> float:
    """Of several classes (Gorodkin 2004), from counts of each; 0 where either side has one class only."""
    known, given, total = known.astype(float), given.astype(float), float(known.sum())
    spreads = (total**2 - known @ known) * (total**2 - given @ given)
    return float((right * total - known @ given) / math.sqrt(spreads)) if spreads > 0 else 0.0
