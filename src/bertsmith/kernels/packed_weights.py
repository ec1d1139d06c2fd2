"""Weights that do not change any more, as the compiled product reads them, for prediction on a CPU.

In bf16, or rounded to int8: each column's weights to 255 steps of its own, and activations, as they come, to 256 steps
between the least and the largest of their row. A token's result is the same, to the bit, in any batch.

Shapes: T tokens, M of them whose states are wanted, H hidden size, K and N the inputs and outputs of a linear layer.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.kernels.attention import Layout
from bertsmith.kernels.library import compiled
from bertsmith.kernels.operator import operator

Number = Literal["bf16", "int8"]
PANEL = 64
"""Columns that lie together; the product computes so many at a time."""
NUM_PACKED: dict[Number, int] = {"bf16": 2, "int8": 4}


class _CMatrix(ctypes.Structure):
    """`bertsmith_matrix` of native/layer.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "scale", "sum")),
        ("num_inputs", ctypes.c_int64),
        ("num_outputs", ctypes.c_int64),
    )


class _CNorm(ctypes.Structure):
    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p), ("eps", ctypes.c_double))


class _CLayer(ctypes.Structure):
    _fields_ = (
        *((name, _CMatrix) for name in ("projections", "output", "up", "down")),
        *((name, _CNorm) for name in ("attention_norm", "feed_forward_norm")),
        ("num_heads", ctypes.c_int64),
    )


class _InC(ABC):
    """What C reads through `address`. Copies and pickles go without what points into memory and make it anew."""

    pointers: ctypes.Structure
    address: int

    def __post_init__(self) -> None:
        self.pointers = self._point()
        self.address = ctypes.addressof(self.pointers)

    @abstractmethod
    def _point(self) -> ctypes.Structure: ...

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("pointers", "address")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()


@dataclass
class Matrix(_InC):
    """A linear layer's weights: panels [N / 64, K / p, 64, p], p numbers of a column side by side, N rounded up to 64.

    bias [N] float. scale, sum [N] float: what a step of int8 is worth in each column, and the sum of its steps.
    """

    panels: Tensor
    bias: Tensor
    scale: Tensor | None
    sum: Tensor | None
    num_inputs: int
    num_outputs: int

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, number: Number) -> Matrix:
        """weight [N, K], as in `nn.Linear`; K a multiple of 16."""
        num_outputs, num_inputs = weight.shape
        missing = -num_outputs % PANEL
        values = F.pad(weight.detach().float(), (0, 0, 0, missing))
        biases = F.pad(torch.zeros(num_outputs) if bias is None else bias.detach().float(), (0, missing))
        if number == "bf16":
            return cls(_in_panels(values.bfloat16(), number), biases, None, None, num_inputs, num_outputs)
        scale = values.abs().amax(1).clamp_min(1e-30) / 127
        steps = (values / scale[:, None]).round().to(torch.int8)
        return cls(_in_panels(steps, number), biases, scale, steps.float().sum(1), num_inputs, num_outputs)

    def _point(self) -> ctypes.Structure:
        scale, total = (None if each is None else each.data_ptr() for each in (self.scale, self.sum))
        return _CMatrix(self.panels.data_ptr(), self.bias.data_ptr(), scale, total, self.num_inputs, self.num_outputs)


def _in_panels(values: Tensor, number: Number) -> Tensor:
    """[N, K] -> [N / 64, K / p, 64, p]."""
    return (
        values.view(-1, PANEL, values.shape[1] // NUM_PACKED[number], NUM_PACKED[number]).transpose(1, 2).contiguous()
    )


class PackedLinear(nn.Module):
    """What a linear layer of these weights computes: [T, K] -> bf16 [T, N], K a multiple of 16."""

    def __init__(self, weight: Tensor, bias: Tensor | None, number: Number = "bf16"):
        super().__init__()
        self.matrix = Matrix.of(weight, bias, number)

    def forward(self, values: Tensor) -> Tensor:
        out: Tensor = _packed_linear(values, self.matrix.address, self.matrix.num_outputs)
        return out


@dataclass(frozen=True)
class Norm:
    """weight, bias: float [H]."""

    weight: Tensor
    bias: Tensor
    eps: float

    @classmethod
    def of(cls, norm: nn.LayerNorm) -> Norm:
        return cls(norm.weight.detach().float().clone(), norm.bias.detach().float().clone(), norm.eps)


@dataclass
class LayerWeights(_InC):
    """Of a layer of BERT: query, key and value side by side, H to 3 H; the others as they are named there."""

    projections: Matrix
    output: Matrix
    up: Matrix
    down: Matrix
    attention_norm: Norm
    feed_forward_norm: Norm
    num_heads: int

    def _point(self) -> ctypes.Structure:
        matrices = (each.pointers for each in (self.projections, self.output, self.up, self.down))
        norms = (
            _CNorm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)
            for norm in (self.attention_norm, self.feed_forward_norm)
        )
        return _CLayer(*matrices, *norms, self.num_heads)


def packed_layer(weights: LayerWeights, hidden: Tensor, layout: Layout, at: Tensor | None = None) -> Tensor:
    """A post-normalized layer with GELU and without dropout: [T, H] -> bf16 [T, H], H and I multiples of 16.

    at: rising places that alone are wanted, for [M, H]; the layout's queries are these.
    """
    out: Tensor = _packed_layer(hidden, layout.key_starts, at, layout.query_starts, weights.address)
    return out


@operator("bertsmith::packed_linear")
def _packed_linear(values: Tensor, matrix: int, num_outputs: int) -> Tensor:
    """matrix: where in memory a `bertsmith_matrix` is."""
    rows = values.bfloat16().contiguous()
    out = torch.empty(*rows.shape[:-1], num_outputs, dtype=torch.bfloat16)
    compiled().bertsmith_linear(matrix, rows.data_ptr(), out.data_ptr(), rows.shape[:-1].numel())
    return out


@_packed_linear.register_fake
def _(values: Tensor, matrix: int, num_outputs: int) -> Tensor:
    return values.new_empty(*values.shape[:-1], num_outputs, dtype=torch.bfloat16)


@operator("bertsmith::packed_layer")
def _packed_layer(hidden: Tensor, starts: Tensor, at: Tensor | None, wanted_starts: Tensor, layer: int) -> Tensor:
    """layer: where in memory a `bertsmith_layer` is."""
    rows = hidden.bfloat16().contiguous()
    num_tokens, width = rows.shape
    projected = rows.new_empty(num_tokens, 3 * width)
    attended, out = (rows.new_empty(num_tokens if at is None else len(at), width) for _ in range(2))
    working = [None, None] if at is None else [torch.empty_like(out) for _ in range(2)]
    compiled().bertsmith_layer_forward(
        layer,
        *(each.data_ptr() for each in (rows, projected, attended, out, starts)),
        len(starts) - 1,
        None if at is None else at.data_ptr(),
        wanted_starts.data_ptr(),
        *(None if each is None else each.data_ptr() for each in working),
    )
    return out


@_packed_layer.register_fake
def _(hidden: Tensor, starts: Tensor, at: Tensor | None, wanted_starts: Tensor, layer: int) -> Tensor:
    return hidden.new_empty(len(hidden) if at is None else len(at), hidden.shape[1], dtype=torch.bfloat16)
