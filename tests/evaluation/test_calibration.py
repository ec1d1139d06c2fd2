from __future__ import annotations

import numpy as np
import pytest

from bertsmith.evaluation.calibration import reliability


def test_expected_calibration_error_by_hand() -> None:
    # Two bins, up to and above 0.5. Lower: 0.3 and 0.5, mean 0.4, one of two right. Upper: 0.8, 0.9 and 1.0, mean 0.9,
    # two of three right. ECE = 2/5 * |0.5 - 0.4| + 3/5 * |2/3 - 0.9| = 0.04 + 0.14.
    found = reliability(np.array([0.3, 0.5, 0.8, 0.9, 1.0]), np.array([0, 1, 1, 1, 0]), num_bins=2)
    assert found.ece == pytest.approx(0.18)
    assert [(part.low, part.high, part.num) for part in found.bins] == [(0, 0.5, 2), (0.5, 1, 3)]
    assert found.bins[1].accuracy == pytest.approx(2 / 3)
    assert found.bins[1].confidence == pytest.approx(0.9)


def test_bounds_belong_to_the_lower_bin_and_zero_to_the_first() -> None:
    found = reliability(np.array([0.0, 0.2, 0.21, 1.0]), np.ones(4), num_bins=5)
    assert [(part.low, part.num) for part in found.bins] == [(0, 2), (0.2, 1), (0.8, 1)]


def test_true_probabilities_have_no_error_to_speak_of() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(50_000)
    assert reliability(scores, rng.random(50_000) < scores).ece < 0.01


def test_no_decisions() -> None:
    found = reliability(np.empty(0), np.empty(0))
    assert (found.bins, found.ece, found.num, found.log_loss) == ((), 0.0, 0, 0.0)


def test_log_loss_is_scikit_learn_s() -> None:
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    scores, right = np.append(rng.random(200), [0.0, 1.0]), rng.integers(2, size=202)
    found = reliability(scores, right).log_loss
    assert found == pytest.approx(log_loss(right, np.column_stack([1 - scores, scores])))
