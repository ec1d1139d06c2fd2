"""The best token of each row of scores, and what makes scores log-probabilities: the kernel and its plain twin."""

from __future__ import annotations

import pytest
import torch

from bertsmith.kernels import native_ops
from bertsmith.kernels.scores import score_rows


@pytest.mark.parametrize("width", [1, 7, 16, 17, 33, 1000, 8001])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_rows_are_those_of_pytorch(width: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(width)
    scores = (scale * torch.randn(5, width, generator=generator)).bfloat16()
    found, wide = score_rows(scores), scores.float()
    torch.testing.assert_close(found.best, wide.max(-1, keepdim=True).values)
    assert found.places.tolist() == [[row.index(max(row))] for row in wide.tolist()]  # of equals the first
    torch.testing.assert_close(found.log_sums, wide.logsumexp(-1), atol=1e-5, rtol=1e-6)


def test_what_may_not_come_counts_for_nothing() -> None:
    scores = torch.tensor([[float("-inf"), 1.0, float("-inf"), 2.0] * 9]).bfloat16()
    found = score_rows(scores)
    assert found.places.tolist() == [[3]]
    torch.testing.assert_close(found.log_sums, scores.float().logsumexp(-1))


def test_full_precision_is_kept() -> None:
    scores = torch.tensor([[1.0, 1.0 + 1e-6], [3.0, -4.0]])
    found = score_rows(scores)
    assert found.places.tolist() == [[1], [0]]
    torch.testing.assert_close(found.log_sums, scores.logsumexp(-1))


@pytest.mark.parametrize("num_best", [2, 8, 31])
@pytest.mark.parametrize("order", ["random", "rising", "falling", "equal"])
@pytest.mark.parametrize("width", [8, 40, 1001])
def test_the_best_tokens_come_in_falling_order_and_of_equals_the_first(width: int, order: str, num_best: int) -> None:
    row = torch.randn(width, generator=torch.Generator().manual_seed(width)).bfloat16()
    row = {"random": row, "rising": row.sort().values, "falling": row.sort(descending=True).values}.get(order, row * 0)
    found = score_rows(row[None], num_best)
    best, places = found.best[0].tolist(), found.places[0].tolist()
    known = sorted(row.tolist(), reverse=True)[:num_best]
    assert best == known
    assert [row[place].item() for place in places] == known
    assert len(set(places)) == len(places)
    if native_ops.is_available():
        assert places == sorted(range(width), key=lambda place: -row[place].item())[:num_best]
