"""The best token of each row of scores, and what makes scores log-probabilities: the kernel and its plain twin."""

from __future__ import annotations

import pytest
import torch

from bertsmith.kernels.scores import score_rows


@pytest.mark.parametrize("width", [1, 7, 16, 17, 33, 1000, 8001])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_rows_are_those_of_pytorch(width: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(width)
    scores = (scale * torch.randn(5, width, generator=generator)).bfloat16()
    found, wide = score_rows(scores), scores.float()
    torch.testing.assert_close(found.best, wide.max(-1).values)
    assert found.places.tolist() == [row.index(max(row)) for row in wide.tolist()]  # of equals the first
    torch.testing.assert_close(found.log_sums, wide.logsumexp(-1), atol=1e-5, rtol=1e-6)


def test_what_may_not_come_counts_for_nothing() -> None:
    scores = torch.tensor([[float("-inf"), 1.0, float("-inf"), 2.0] * 9]).bfloat16()
    found = score_rows(scores)
    assert found.places.tolist() == [3]
    torch.testing.assert_close(found.log_sums, scores.float().logsumexp(-1))


def test_full_precision_is_kept() -> None:
    scores = torch.tensor([[1.0, 1.0 + 1e-6], [3.0, -4.0]])
    found = score_rows(scores)
    assert found.places.tolist() == [1, 0]
    torch.testing.assert_close(found.log_sums, scores.logsumexp(-1))
