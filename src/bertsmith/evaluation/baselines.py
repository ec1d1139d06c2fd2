"""What a score is worth: the answers of a constant and of a bag of words, under the metric names of the networks.

These know texts and labels only. They are the simple things that a network has to beat before it is worth its cost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class LabelledText(Protocol):
    """A row with one text, or two, and its true label."""

    @property
    def text(self) -> str: ...

    @property
    def text_pair(self) -> str | None: ...

    @property
    def label(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Answers:
    """A baseline's label for every test row, in order, and their metrics."""

    name: str
    labels: tuple[str, ...]
    metrics: dict[str, float]


def majority(train_labels: Sequence[str], test_labels: Sequence[str]) -> Answers:
    """Always the commonest training label; of equally common ones the first by name."""
    commonest = min(set(train_labels), key=lambda label: (-train_labels.count(label), label))
    return _answers("majority", test_labels, [commonest] * len(test_labels))


def tfidf_logistic(train: Sequence[LabelledText], test: Sequence[LabelledText], *, overlap: bool = False) -> Answers:
    """Logistic regression over TF-IDF of words and word pairs, its penalty chosen by cross-validation on `train`.

    For two texts the features are those of each. `overlap` adds what a bag of words cannot see, how the two compare:
    the product of their rows (the words that both hold), their cosine, words in common as a share of the first, of the
    second and of both, and their number. Deterministic. The rows of `train` and `test` all have one text or all two.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.multiclass import OneVsRestClassifier

    assert not overlap or train[0].text_pair is not None, "one text overlaps with nothing"
    features = _Features(train, overlap)
    # liblinear's coordinate descent is some thirty times as fast as lbfgs on rows as sparse as these.
    model = GridSearchCV(
        OneVsRestClassifier(LogisticRegression(solver="liblinear", random_state=0)),
        {"estimator__C": [0.1, 1.0, 10.0]},
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        scoring="accuracy",
    )
    model.fit(features(train), [row.label for row in train])
    name = "TF-IDF and overlap" if overlap else "TF-IDF"
    return _answers(
        f"{name} + logistic regression", [row.label for row in test], model.predict(features(test)).tolist()
    )


def scores(known: Sequence[str], given: Sequence[str]) -> dict[str, float]:
    """accuracy, and f1_macro: F1 averaged over the labels without weights."""
    from sklearn.metrics import accuracy_score, f1_score

    return {
        "accuracy": float(accuracy_score(known, given)),
        "f1_macro": float(f1_score(known, given, average="macro", zero_division=0.0)),
    }


class _Features:
    """Rows to a sparse matrix, with the words and scales of the training rows."""

    def __init__(self, train: Sequence[LabelledText], overlap: bool):
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import StandardScaler

        self.words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2 if len(train) > 100 else 1)
        self.words.fit([text for row in train for text in (row.text, row.text_pair) if text is not None])
        self.overlap = StandardScaler().fit(_overlaps(train, *self._sides(train))) if overlap else None

    def __call__(self, rows: Sequence[LabelledText]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        if rows[0].text_pair is None:
            return self.words.transform([row.text for row in rows])
        first, second = self._sides(rows)
        if self.overlap is None:
            return hstack([first, second]).tocsr()
        overlaps = csr_matrix(self.overlap.transform(_overlaps(rows, first, second)))
        return hstack([first, second, first.multiply(second), overlaps]).tocsr()

    def _sides(self, rows: Sequence[LabelledText]) -> tuple[Any, Any]:
        return (
            self.words.transform([row.text for row in rows]),
            self.words.transform([row.text_pair or "" for row in rows]),
        )


def _overlaps(rows: Sequence[LabelledText], first: Any, second: Any) -> Any:
    """[rows, 5] float: the cosine of the two TF-IDF rows and four measures of the words in common."""
    cosine = np.asarray(first.multiply(second).sum(axis=1)).ravel()
    counts = np.array([_common_words(row.text, row.text_pair or "") for row in rows], dtype=float)
    common, in_first, in_second = counts.T
    either = in_first + in_second - common
    shares = [common / np.maximum(1, total) for total in (in_first, in_second, either)]
    return np.column_stack([cosine, *shares, np.log1p(common)])


def _common_words(first: str, second: str) -> tuple[int, int, int]:
    words, others = (set(re.findall(r"\w+", text.lower())) for text in (first, second))
    return len(words & others), len(words), len(others)


def _answers(name: str, known: Sequence[str], given: Sequence[str]) -> Answers:
    return Answers(name, tuple(given), scores(known, given))
