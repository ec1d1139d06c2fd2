"""Faithfulness of a toy model that adds numbers, worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertsmith.explain.faithfulness import faithfulness

WEIGHTS = np.array([0.1, 0.0, 0.4, 0.2])


def added(kept: Any) -> Any:
    """How likely the prediction is: the weights of the words that stay, and 0.3 in any case."""
    return 0.3 + kept @ WEIGHTS


def test_a_sum_by_hand() -> None:
    found = faithfulness(added, WEIGHTS, num_random=0)
    # Of four words 1, 5, 10 and 20 percent are one, the third, worth 0.4; 50 percent are two, worth 0.6.
    assert found.comprehensiveness == pytest.approx((4 * 0.4 + 0.6) / 5)
    # The whole is worth 1.0, the first word alone 0.3 + 0.4, the first two 0.3 + 0.6.
    assert found.sufficiency == pytest.approx((4 * 0.3 + 0.1) / 5)
    assert found.beaten is None
    assert "Not compared" in found.verdict


def test_random_orders_cost_the_mean_of_the_words() -> None:
    found = faithfulness(added, WEIGHTS, num_random=4000)
    assert found.random_comprehensiveness == pytest.approx((4 * 0.175 + 0.35) / 5, abs=0.01)
    assert found.random_sufficiency == pytest.approx((4 * (0.7 - 0.175) + 0.35) / 5, abs=0.01)
    assert found.num_random == 4000
    # One order in twelve begins with the two best words in their order; that is not beaten.
    assert found.beaten == pytest.approx(11 / 12, abs=0.02)


def test_the_wrong_way_round_is_said_to_show_nothing() -> None:
    found = faithfulness(added, -WEIGHTS, num_random=50)
    assert found.comprehensiveness == pytest.approx((4 * 0.0 + 0.1) / 5)
    assert found.verdict.startswith("Not shown")


def test_a_fair_order_of_many_words_beats_all() -> None:
    weights = np.arange(30) / 1000
    found = faithfulness(lambda kept: kept @ weights, weights, num_random=20)
    assert found.beaten == 1
    assert found.verdict.startswith("Without the words named first the prediction loses more than in all of 20")


def test_what_does_not_rest_on_words_is_said_so() -> None:
    found = faithfulness(lambda kept: 0.5 + 1e-4 * (kept @ WEIGHTS), WEIGHTS, num_random=50)
    assert found.likelihood == pytest.approx(0.50007)
    assert found.beaten is not None
    assert found.beaten > 0.8
    assert found.verdict.startswith("Hardly anything changes")


def test_one_word_has_no_order() -> None:
    found = faithfulness(lambda kept: kept @ np.ones(1), np.ones(1))
    assert (found.comprehensiveness, found.sufficiency, found.beaten) == (1.0, 0.0, None)


def test_equal_questions_are_asked_once() -> None:
    asked = []

    def counted(kept: Any) -> Any:
        asked.append(len(kept))
        return added(kept)

    faithfulness(counted, WEIGHTS, num_random=100)
    assert asked == [1 + 2 * (4 + 6) - 6]


def test_the_same_seed_draws_the_same_orders() -> None:
    weights = np.arange(30) / 1000
    one, other, third = (faithfulness(lambda kept: kept @ weights, weights, seed=seed) for seed in (1, 1, 2))
    assert one == other != third
