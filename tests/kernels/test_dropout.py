"""Dropout: its share, its mean, its gradient, and independence of neighbours and of the four decisions of a draw."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from bertsmith.kernels.dropout import Dropout, dropout


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_mean_and_values(fraction: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(400, 251, dtype=dtype), fraction)
    assert out.dtype == dtype
    kept = (out != 0).float()
    # Five standard deviations of a share of 100,400 draws.
    assert float(kept.mean()) == pytest.approx(1 - fraction, abs=5 * (fraction * (1 - fraction) / out.numel()) ** 0.5)
    assert out.unique().tolist() == pytest.approx(
        [0.0, 1 / (1 - fraction)], rel=1e-2 if dtype == torch.bfloat16 else 1e-3
    )


def test_decisions_are_independent_of_their_neighbours() -> None:
    torch.manual_seed(0)
    kept = (dropout(torch.ones(400_000), 0.5) != 0).float() - 0.5
    for distance in (1, 2, 3, 4, 5, 64):
        correlation = float((kept[distance:] * kept[:-distance]).mean() / 0.25)
        assert abs(correlation) < 5 / 400_000**0.5
    for lane in range(4):
        assert float(kept[lane::4].mean()) == pytest.approx(0, abs=5 * 0.5 / 100_000**0.5)


def test_its_state_is_pytorchs() -> None:
    values = torch.randn(7, 5)
    outs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outs.append(dropout(values, 0.5))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_the_gradient_passes_where_values_do() -> None:
    values = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)

    def drop(given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return dropout(given, 0.4)

    assert gradcheck(drop, values)


def test_nothing_all_and_next_to_nothing() -> None:
    values = torch.randn(11)
    assert torch.equal(dropout(values, 0.0), values)
    assert torch.equal(dropout(values, 1e-7), values)
    assert torch.equal(dropout(values, 1.0), torch.zeros(11))
    assert dropout(torch.empty(0, 4), 0.5).shape == (0, 4)


def test_the_layer_drops_in_training_only() -> None:
    layer, values = Dropout(0.5), torch.randn(100)
    assert torch.equal(layer.eval()(values), values)
    assert 0 < int((layer.train()(values) == 0).sum()) < 100
