"""The layer that a GPU predicts with, on a CPU: what it computes, for whom it stands, and rows that nobody wants."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import toy_config

from bertsmith.model.attention import Capture
from bertsmith.model.encoder import EncoderLayer
from bertsmith.model.half_layer import HalfLayer, fits_half
from bertsmith.model.packed import Packed

PACKED = Packed.of([[2, 5, 6, 3], [2, 7, 3], [2, *range(5, 30), 3]])
AT = torch.tensor([0, 2, 4, 7, 9, 30])


def layer(**changes: Any) -> EncoderLayer:
    torch.manual_seed(0)
    made = EncoderLayer(toy_config(hidden_size=64, intermediate_size=128, **changes)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made


def states(count: int = PACKED.num_tokens) -> torch.Tensor:
    return torch.randn(count, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("at", [None, AT])
@torch.inference_mode()
def test_it_computes_the_layer_rounded(activation: str, at: torch.Tensor | None) -> None:
    exact = layer(feed_forward={"kind": "plain", "activation": activation})
    layout = PACKED.layout if at is None else PACKED.layout_at(at)
    expected = exact(states(), layout, None, None, at)
    given = HalfLayer(exact)(states(), layout, None, None, at)
    assert given.dtype == torch.bfloat16
    assert (given.float() - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization": {"kind": "layer_norm", "placement": "pre"}},
        {"normalization": {"kind": "rms_norm"}},
        {"feed_forward": {"kind": "gated"}},
    ],
)
def test_layers_of_another_shape_are_left_alone(changes: dict[str, Any]) -> None:
    assert fits_half(layer())
    assert not fits_half(layer(**changes))


def test_it_keeps_no_attentions() -> None:
    with pytest.raises(AssertionError, match="keeps no attentions"):
        HalfLayer(layer())(states(), PACKED.layout, None, Capture(want_attentions=True))


@pytest.mark.parametrize("at", [None, AT])
@torch.inference_mode()
def test_rows_that_nobody_wants_change_nothing(at: torch.Tensor | None) -> None:
    exact, spare = layer(), 5
    padded = torch.cat([states(), torch.zeros(spare, 64)])
    if at is None:
        expected = exact(states(), PACKED.layout, None, None)
        given = exact(padded, PACKED.layout_with(spare), None, None)[: PACKED.num_tokens]
    else:
        expected = exact(states(), PACKED.layout_at(at), None, None, at)
        given = exact(padded, PACKED.layout_at(at, spare), None, None, at)
    torch.testing.assert_close(given, expected, atol=1e-5, rtol=1e-4)
