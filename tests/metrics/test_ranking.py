"""Ranking metrics: by hand, and as scikit-learn computes them, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.metrics.ranking import average_precision, ndcg, reciprocal_rank, reciprocal_ranks_among

RELEVANCE = np.array([0.0, 2.0, 0.0, 1.0])


def test_ndcg_by_hand() -> None:
    # Ranked 1st: gain 0, 2nd: 2 / log2(3) = 1.2619, 3rd: 0, 4th: 1 / log2(5) = 0.4307. Best: 2 + 1 / log2(3) = 2.6309.
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    assert ndcg(RELEVANCE, scores) == pytest.approx((1.2619 + 0.4307) / 2.6309, abs=1e-4)
    assert ndcg(RELEVANCE, scores, k=2) == pytest.approx(1.2619 / 2.6309, abs=1e-4)
    assert ndcg(RELEVANCE, RELEVANCE) == pytest.approx(1.0)


def test_ranks_and_precision_by_hand() -> None:
    scores = np.array([4.0, 3.0, 2.0, 1.0])
    assert reciprocal_rank(RELEVANCE, scores) == 1 / 2
    assert reciprocal_rank(RELEVANCE, scores, k=1) == 0.0
    assert average_precision(RELEVANCE, scores) == (1 / 2 + 2 / 4) / 2


def test_equal_scores_are_no_merit() -> None:
    same = np.zeros(4)
    assert reciprocal_rank(RELEVANCE, same) == 1 / 3  # both irrelevant ones come first
    assert average_precision(RELEVANCE, same) == (1 / 3 + 2 / 4) / 2
    # Each of the four ranks gains the mean, 3 / 4; the discounts add up to 2.5616.
    assert ndcg(RELEVANCE, same) == pytest.approx(0.75 * 2.5616 / 2.6309, abs=1e-4)


def test_a_query_without_a_relevant_candidate_counts_as_zero() -> None:
    nothing, scores = np.zeros(3), np.arange(3.0)
    assert ndcg(nothing, scores) == reciprocal_rank(nothing, scores) == average_precision(nothing, scores) == 0.0


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), min_size=2, max_size=15), st.integers(1, 12))
def test_ndcg_is_that_of_scikit_learn(rows: list[tuple[int, int]], k: int) -> None:
    from sklearn.metrics import ndcg_score

    relevance, scores = np.array(rows, dtype=float).T
    assert ndcg(relevance, scores, k) == pytest.approx(ndcg_score([relevance], [scores], k=k), abs=1e-12)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-1000, 1000)), min_size=1, max_size=15, unique_by=lambda row: row[1])
)
def test_average_precision_is_that_of_scikit_learn_without_ties(rows: list[tuple[bool, int]]) -> None:
    from sklearn.metrics import average_precision_score

    relevance, scores = np.array(rows, dtype=float).T
    if relevance.any():
        assert average_precision(relevance, scores) == pytest.approx(average_precision_score(relevance, scores))


def test_ranks_among_the_answers_of_all_queries() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    answers = np.array([[3.0, 0.1], [1.0, 1.0], [0.0, 1.0]])
    texts = [("a", "A"), ("b", "B"), ("c", "C")]
    # a: A is nearest. b: C is nearer than B. c: B is nearest, C and A are 0.7.
    assert reciprocal_ranks_among(queries, answers, texts, [[], [], []]).tolist() == [1.0, 1 / 2, 1 / 3]
    # A negative of a's own that is nearer than A.
    assert reciprocal_ranks_among(queries, answers, texts, [[1.0], [], []])[0] == 1 / 2


def test_further_answers_to_a_query_do_not_compete() -> None:
    vectors = np.array([[1.0, 0.0], [0.9, 0.1], [1.0, 0.0]])
    texts = [("a", "A"), ("a", "B"), ("a", "A")]
    queries = np.array([[1.0, 0.0]] * 3)
    assert reciprocal_ranks_among(queries, vectors, texts, [[], [], []]).tolist() == [1.0, 1.0, 1.0]
    others = [("x", "A"), ("a", "B"), ("y", "A")]
    assert reciprocal_ranks_among(queries, vectors, others, [[], [], []]).tolist() == [1.0, 1 / 2, 1.0]


def test_the_query_itself_among_the_answers_does_not_compete() -> None:
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert reciprocal_ranks_among(vectors, vectors[::-1], [("a", "b"), ("b", "a")], [[], []]).tolist() == [1.0, 1.0]
