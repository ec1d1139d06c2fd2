"""Answers that need no network: constants, bags of words, tag tables, BM25. What a network has to beat to be worth it.

Texts, labels and tags in, answers out, the same ones every time; knows no task and no metric.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Texts: TypeAlias = tuple[str, ...]
"""A row of one text, or of two whose relation is asked for."""
Floats: TypeAlias = NDArray[np.float64]

# Chinese and Japanese are written without spaces: each of their characters counts as a word, pairs of them as pairs.
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_TOKEN = rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]{{2,}}"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")

NUM_FOLDS = 3
MAX_SEARCH_ROWS = 10_000
"""Rows that a penalty is chosen on, drawn at random where there are more."""


@dataclass(frozen=True, slots=True)
class LabelScores:
    """labels [L]: the names. probabilities [n, L]: of each label for each row."""

    labels: tuple[str, ...]
    probabilities: Floats

    def best(self) -> list[str]:
        """The likeliest label of each row."""
        return [self.labels[index] for index in self.probabilities.argmax(axis=1).tolist()]


def majority(labels: Sequence[str], num: int) -> list[str]:
    """`num` times the commonest label; of equally common ones the first by name."""
    counts = Counter(labels)
    return [min(counts, key=lambda label: (-counts[label], label))] * num


def tfidf_logistic(
    train_texts: Sequence[Texts], train_labels: Sequence[str], test_texts: Sequence[Texts], *, overlap: bool = False
) -> LabelScores:
    """Logistic regression over TF-IDF of words and word pairs, its penalty chosen by cross-validation.

    For two texts the features are those of each. `overlap` adds what a bag of words cannot see, how the two compare:
    the product of their rows (the words that both hold), their cosine, words in common as a share of the first, of the
    second and of both, and their number.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = Counter(train_labels)
    if len(counts) == 1:
        return LabelScores(tuple(counts), np.ones((len(test_texts), 1)))
    features = _Features(train_texts, overlap)
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0) if max(counts.values()) >= NUM_FOLDS else None
    model = _searched(
        _one_against_rest(),
        ("estimator__C", (0.1, 1.0, 10.0)),
        "accuracy",
        folds,
        features(train_texts),
        np.asarray(train_labels),
    )
    return LabelScores(tuple(map(str, model.classes_)), np.asarray(model.predict_proba(features(test_texts))))


def tfidf_multi_label(
    train_texts: Sequence[Texts], train_indicators: NDArray[Any], test_texts: Sequence[Texts]
) -> Floats:
    """Probabilities [n, L]: for each label a logistic regression over TF-IDF; `train_indicators` [m, L] holds 0 and 1.

    One penalty for all labels is chosen by cross-validation, by F1 over all decisions.
    """
    features = _Features(train_texts, overlap=False)
    model = _searched(
        _one_against_rest(),
        ("estimator__C", (0.1, 1.0, 10.0)),
        "f1_micro",
        _folds(train_texts),
        features(train_texts),
        np.asarray(train_indicators).astype(int),
    )
    return np.asarray(model.predict_proba(features(test_texts)), dtype=float)


def tfidf_ridge(train_texts: Sequence[Texts], train_values: Sequence[float], test_texts: Sequence[Texts]) -> Floats:
    """Values [n]: ridge regression over TF-IDF, for two texts with their overlap (see `tfidf_logistic`)."""
    from sklearn.linear_model import Ridge

    features = _Features(train_texts, overlap=len(train_texts[0]) == 2)
    model = _searched(
        Ridge(random_state=0, solver="sparse_cg"),
        ("alpha", (0.1, 1.0, 10.0)),
        "neg_mean_squared_error",
        _folds(train_texts),
        features(train_texts),
        np.asarray(train_values, dtype=float),
    )
    return np.asarray(model.predict(features(test_texts)), dtype=float)


def tfidf_cosine(fit_texts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> Floats:
    """Cosines [n] of the TF-IDF rows of `first` and `second`; words and their weights are those of `fit_texts`."""
    words = _fitted_words(fit_texts, len(fit_texts))
    return _cosines(words.transform(first), words.transform(second))


def lsa_vectors(fit_texts: Sequence[str], texts: Sequence[str], width: int = 256) -> Floats:
    """[n, at most width]: TF-IDF rows in the directions in which those of `fit_texts` differ most (Deerwester 1990)."""
    from sklearn.decomposition import TruncatedSVD

    words = _fitted_words(fit_texts, len(fit_texts))
    rows = words.transform(fit_texts)
    if rows.shape[1] == 1:
        return np.asarray(words.transform(texts).toarray(), dtype=float)
    directions = TruncatedSVD(min(width, *rows.shape), random_state=0).fit(rows)
    return np.asarray(directions.transform(words.transform(texts)), dtype=float)


def most_frequent_tags(
    train_words: Sequence[Sequence[str]], train_tags: Sequence[Sequence[str]], test_words: Sequence[Sequence[str]]
) -> list[list[str]]:
    """For each word the tag that it mostly has in training, without regard to its neighbours.

    A word that training lacks gets the tag of its lower-cased form, else the tag of most words that occur once, which
    are its like.
    """
    tags_of: dict[str, Counter[str]] = defaultdict(Counter)
    lower: dict[str, Counter[str]] = defaultdict(Counter)
    for words, tags in zip(train_words, train_tags, strict=True):
        for word, tag in zip(words, tags, strict=True):
            tags_of[word][tag] += 1
            lower[word.lower()][tag] += 1
    rare: Counter[str] = Counter()
    for counts in tags_of.values():
        if counts.total() == 1:
            rare.update(counts)
    fallback = _commonest(rare or sum(tags_of.values(), Counter()))
    known = {word: _commonest(counts) for word, counts in tags_of.items()}
    known_lower = {word: _commonest(counts) for word, counts in lower.items()}
    return [[known.get(word) or known_lower.get(word.lower(), fallback) for word in words] for words in test_words]


class Bm25:
    """Relevance of passages to a query by the words that they share, rare ones counting more.

    The formula is that of Robertson and Zaragoza (2009, section 3.2) with Lucene's constants, k1 = 1.2 and b = 0.75,
    and its weight of a word, ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative. N, n and the mean length are
    those of `corpus`.

    >>> Bm25(["red apple", "green pear"]).scores("an apple", ["red apple", "green pear"]).round(2).tolist()
    [0.69, 0.0]
    """

    k1, b = 1.2, 0.75

    def __init__(self, corpus: Sequence[str]):
        assert corpus, "BM25 needs texts to count words in"
        counts = [Counter(words_of(text)) for text in corpus]
        self._num_texts = len(counts)
        self._holding = Counter(word for count in counts for word in count)
        self._mean_length = sum(count.total() for count in counts) / len(counts) or 1.0

    def scores(self, query: str, passages: Sequence[str]) -> Floats:
        """[len(passages)], higher for the more relevant; zero where no word is shared."""
        weights = {word: self._weight(word) * times for word, times in Counter(words_of(query)).items()}
        return np.array([self._score(weights, Counter(words_of(passage))) for passage in passages], dtype=float)

    def _weight(self, word: str) -> float:
        holding = self._holding[word]
        return math.log1p((self._num_texts - holding + 0.5) / (holding + 0.5))

    def _score(self, weights: Mapping[str, float], counts: Counter[str]) -> float:
        length = self.k1 * (1 - self.b + self.b * counts.total() / self._mean_length)
        return sum(
            weight * counts[word] * (self.k1 + 1) / (counts[word] + length)
            for word, weight in weights.items()
            if counts[word]
        )


def words_of(text: str) -> list[str]:
    """The lower-cased words of a text, each Chinese or Japanese character one of its own.

    >>> words_of("Don't panic, 世界")
    ['don', 't', 'panic', '世', '界']
    """
    return _WORD.findall(text.lower())


class _Features:
    """Rows to a sparse matrix, with the words and scales of the training rows."""

    def __init__(self, train: Sequence[Texts], overlap: bool):
        from sklearn.preprocessing import StandardScaler

        assert not overlap or len(train[0]) == 2, "one text overlaps with nothing"
        self.words = _fitted_words([text for row in train for text in row], len(train))
        self.overlap = StandardScaler().fit(_overlaps(train, *self._sides(train))) if overlap else None

    def __call__(self, rows: Sequence[Texts]) -> Any:
        from scipy.sparse import csr_matrix, hstack

        sides = self._sides(rows)
        if self.overlap is None:
            return hstack(sides).tocsr()
        overlaps = csr_matrix(self.overlap.transform(_overlaps(rows, *sides)))
        return hstack([*sides, sides[0].multiply(sides[1]), overlaps]).tocsr()

    def _sides(self, rows: Sequence[Texts]) -> list[Any]:
        return [self.words.transform(side) for side in zip(*rows, strict=True)]


def _fitted_words(texts: Sequence[str], num_rows: int) -> Any:
    """The words and word pairs of `texts` with their weights; those that occur once are left out of many rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    def words(min_df: int) -> Any:
        return TfidfVectorizer(token_pattern=_TOKEN, ngram_range=(1, 2), sublinear_tf=True, min_df=min_df)

    try:
        return words(2 if num_rows > 100 else 1).fit(texts)
    except ValueError:  # no word at all, or none that occurs twice
        return words(1).fit([*texts, "word"])


def _one_against_rest() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    # liblinear's coordinate descent is some thirty times as fast as lbfgs on rows as sparse as these.
    return OneVsRestClassifier(LogisticRegression(solver="liblinear", random_state=0))


def _folds(rows: Sequence[Any]) -> Any:
    from sklearn.model_selection import KFold

    return KFold(NUM_FOLDS, shuffle=True, random_state=0) if len(rows) >= NUM_FOLDS else None


def _searched(
    model: Any, choice: tuple[str, Sequence[float]], scoring: str, folds: Any, rows: Any, targets: NDArray[Any]
) -> Any:
    """`model` fitted to all rows with the value of a parameter that does best across `folds`; as it is without any."""
    from sklearn.model_selection import GridSearchCV

    name, values = choice
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # labels that are rare, or absent from a fold: a baseline takes data as it is
        if folds is not None:
            drawn = np.sort(np.random.default_rng(0).permutation(rows.shape[0])[:MAX_SEARCH_ROWS])
            search = GridSearchCV(model, {name: list(values)}, cv=folds, scoring=scoring, refit=False)
            search.fit(rows[drawn], targets[drawn])
            model = model.set_params(**search.best_params_)
        return model.fit(rows, targets)


def _overlaps(rows: Sequence[Texts], first: Any, second: Any) -> Floats:
    """[rows, 5]: the cosine of the two TF-IDF rows and four measures of the words in common."""
    counts = np.array([_common_words(*row) for row in rows], dtype=float)
    common, in_first, in_second = counts.T
    either = in_first + in_second - common
    shares = [common / np.maximum(1, total) for total in (in_first, in_second, either)]
    return np.column_stack([_cosines(first, second), *shares, np.log1p(common)])


def _cosines(first: Any, second: Any) -> Floats:
    return np.asarray(first.multiply(second).sum(axis=1), dtype=float).ravel()


def _common_words(first: str, second: str) -> tuple[int, int, int]:
    words, others = set(words_of(first)), set(words_of(second))
    return len(words & others), len(words), len(others)


def _commonest(counts: Counter[str]) -> str:
    return min(counts, key=lambda name: (-counts[name], name))
