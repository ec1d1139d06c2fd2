"""Numbers per test example, all that a score needs, and the scores of them: one yardstick for all systems.

It is written apart from the package's metrics, so that what is measured does not measure itself.

Marks are rows of: known and given label index (classification, multiple choice) or value (similarity); exact match and
F1 of an answer; right, given and known entities of a sentence. All metrics are in percent.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from quality.sets import QualitySet

Marks = NDArray[np.float64]
Measure = Callable[[Marks], float]


def scores(quality: QualitySet, marks: Marks) -> dict[str, float]:
    """Every metric of the set."""
    return {metric: MEASURES[quality.task][metric](marks) for metric in quality.metrics}


# --- metrics of marks ------------------------------------------------------------------------------------------------


def _accuracy(marks: Marks) -> float:
    return float(100 * np.mean(marks[:, 0] == marks[:, 1]))


def _f1_of_second_label(marks: Marks) -> float:
    known, given = marks[:, 0] == 1, marks[:, 1] == 1
    return float(200 * np.sum(known & given) / max(1, known.sum() + given.sum()))


def _f1_macro(marks: Marks) -> float:
    from sklearn.metrics import f1_score

    return float(100 * f1_score(marks[:, 0], marks[:, 1], average="macro", zero_division=0.0))


def _matthews(marks: Marks) -> float:
    """Of two labels that is the correlation of two columns of 0 and 1; 0 where one of them is constant."""
    return _pearson(marks)


def _pearson(marks: Marks) -> float:
    known, given = marks.T
    return float(100 * np.corrcoef(known, given)[0, 1]) if np.ptp(known) and np.ptp(given) else 0.0


def _spearman(marks: Marks) -> float:
    from scipy.stats import rankdata

    return _pearson(np.column_stack([rankdata(column) for column in marks.T]))


def _overall_f1(marks: Marks) -> float:
    right, given, known = marks.sum(axis=0)
    return float(200 * right / max(1, given + known))


def _overall_precision(marks: Marks) -> float:
    return float(100 * marks[:, 0].sum() / max(1, marks[:, 1].sum()))


def _overall_recall(marks: Marks) -> float:
    return float(100 * marks[:, 0].sum() / max(1, marks[:, 2].sum()))


_SIMILARITY: dict[str, Measure] = {"spearmanr": _spearman, "pearson": _pearson}
MEASURES: dict[str, dict[str, Measure]] = {
    "classification": {
        "accuracy": _accuracy,
        "f1": _f1_of_second_label,
        "f1_macro": _f1_macro,
        "matthews_correlation": _matthews,
        **_SIMILARITY,
    },
    "multiple_choice": {"accuracy": _accuracy},
    "embedding": _SIMILARITY,
    "question_answering": {
        "exact_match": lambda marks: float(100 * marks[:, 0].mean()),
        "f1": lambda marks: float(100 * marks[:, 1].mean()),
    },
    "token_classification": {
        "overall_f1": _overall_f1,
        "overall_precision": _overall_precision,
        "overall_recall": _overall_recall,
    },
}


# --- marks of answers ------------------------------------------------------------------------------------------------


def label_marks(known: Sequence[str], given: Sequence[str], labels: Sequence[str]) -> Marks:
    """[n, 2] indices into `labels`."""
    place = {label: float(i) for i, label in enumerate(labels)}
    return np.array([[place[right], place[answer]] for right, answer in zip(known, given, strict=True)])


def value_marks(known: Sequence[float], given: Sequence[float]) -> Marks:
    """[n, 2] values."""
    return np.column_stack([np.asarray(known, float), np.asarray(given, float)])


def tag_marks(known: Sequence[Sequence[str]], given: Sequence[Sequence[str]]) -> Marks:
    """[n, 3] entities per sentence: right, given, known, read from tags as seqeval's lenient mode reads them."""
    from seqeval.metrics.sequence_labeling import get_entities

    rows = []
    for right, answer in zip(known, given, strict=True):
        assert len(right) == len(answer), "a tag for every word"
        here, there = set(get_entities(list(right))), set(get_entities(list(answer)))
        rows.append([len(here & there), len(there), len(here)])
    return np.array(rows, dtype=float)


def answer_marks(known: Sequence[Sequence[str]], given: Sequence[str]) -> Marks:
    """[n, 2] exact match and F1, the best over a question's answers; no answers: right is the empty one."""
    rows = []
    for answers, answer in zip(known, given, strict=True):
        words = _answer_words(answer)
        best = [(float(words == right), _overlap(words, right)) for right in map(_answer_words, answers or [""])]
        rows.append([max(exact for exact, _ in best), max(f1 for _, f1 in best)])
    return np.array(rows)


def _answer_words(answer: str) -> list[str]:
    """SQuAD's normalisation: lower case, no punctuation, no articles."""
    bare = "".join(character for character in answer.lower() if character not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _overlap(words: list[str], right: list[str]) -> float:
    if not words or not right:
        return float(words == right)
    common = sum((Counter(words) & Counter(right)).values())
    return 2 * common / (len(words) + len(right))
