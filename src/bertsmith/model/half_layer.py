"""An encoder layer of weights that do not change any more, in bf16 throughout: what a GPU predicts with.

Under autocast a GPU rounds each weight anew for every batch, and norms and sums are in fp32: half of a small layer's
time. Here the weights are rounded once, query, key and value are one product, and what lies between products is bf16
too, computed in fp32 within each operation.

Shapes: T tokens, M of them whose states are wanted, H hidden size, I inner size, N heads, D their width.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.kernels.attention import Layout, packed_attention
from bertsmith.model.attention import Capture
from bertsmith.model.encoder import EncoderLayer
from bertsmith.model.feedforward import Plain, activate
from bertsmith.model.linear import Linear
from bertsmith.model.positions import Rotation

PLAIN = (nn.Linear, Linear)
"""Layers that are their weights and no more; an adapted one is not."""


class HalfLayer(nn.Module):
    """What an `EncoderLayer` that `fits_half` computes: [T, H] -> bf16 [T, H], or [M, H] of the places in `at`.

    projections [3 H, H], output [H, H], up [I, H], down [H, I] with their biases; of each norm weight and bias [H].
    """

    def __init__(self, layer: EncoderLayer):
        super().__init__()
        attention, feed_forward = layer.attention, layer.feed_forward
        parts = (attention.query, attention.key, attention.value)
        self.heads_shape = attention.heads_shape
        self.activation = feed_forward.activation
        norms = [cast(nn.LayerNorm, part.norm) for part in (layer.attention_residual, layer.feed_forward_residual)]
        self.eps = [norm.eps for norm in norms]
        self._keep("projections", torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts]))
        for name, part in (("output", attention.output), ("up", feed_forward.up), ("down", feed_forward.down)):
            self._keep(name, part.weight, part.bias)
        for number, norm in enumerate(norms):
            self._keep(f"norm{number}", norm.weight, norm.bias)

    def _keep(self, name: str, weight: Tensor, bias: Tensor) -> None:
        self.register_buffer(f"{name}_weight", weight.detach().bfloat16(), persistent=False)
        self.register_buffer(f"{name}_bias", bias.detach().bfloat16(), persistent=False)

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        rotation: Rotation | None,
        capture: Capture | None,
        at: Tensor | None = None,
    ) -> Tensor:
        assert rotation is None, "layers that turn by positions are not frozen whole"
        assert capture is None or not capture.want_attentions, "a copy for prediction keeps no attentions"
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.bfloat16()
            projected = self._linear("projections", hidden).view(len(hidden), 3, *self.heads_shape)
            query, key, value = projected.unbind(1)
            if at is not None:
                hidden, query = hidden[at], query[at]
            attended = packed_attention(query, key, value, layout).flatten(1)
            hidden = self._norm(0, hidden + self._linear("output", attended))
            inner = activate(self.activation, self._linear("up", hidden))
            return self._norm(1, hidden + self._linear("down", inner))

    def _linear(self, name: str, values: Tensor) -> Tensor:
        return F.linear(values, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"))

    def _norm(self, number: int, values: Tensor) -> Tensor:
        weight, bias = getattr(self, f"norm{number}_weight"), getattr(self, f"norm{number}_bias")
        return F.layer_norm(values, weight.shape, weight, bias, self.eps[number])


def fits_half(layer: EncoderLayer) -> bool:
    """Whether it is of BERT's shape: plain linear layers, one feed-forward, a layer norm after each sum."""
    attention, feed_forward = layer.attention, layer.feed_forward
    if type(feed_forward) is not Plain:
        return False
    linears = (attention.query, attention.key, attention.value, attention.output, feed_forward.up, feed_forward.down)
    residuals = (layer.attention_residual, layer.feed_forward_residual)
    return all(type(part) in PLAIN and part.bias is not None for part in linears) and all(
        part.placement == "post" and type(part.norm) is nn.LayerNorm for part in residuals
    )
