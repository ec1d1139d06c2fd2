"""Matrix products of linear layers, our own and PyTorch's: in training as autocast asks for them, frozen, in int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bertsmith.kernels import native_ops
from bertsmith.kernels.library import engine
from bertsmith.kernels.linear import FrozenLinear
from bertsmith.kernels.packed_weights import PackedLinear
from speed.measure import in_turns, ratio

SHAPES = ((437, 384, 384), (437, 384, 1536), (1750, 1536, 384), (8192, 384, 1536), (1020, 768, 3072))
"""Tokens, inputs, outputs: MiniLM's layers in steps of 32 and 128 short sentences and of a full batch; base's."""


def measure_products(rounds: int) -> list[dict[str, Any]]:
    """For each shape and product billions of operations a second of both and their ratio; nothing without kernels."""
    if engine().library is None:
        return []
    return [row for shape in SHAPES for row in _rows(*shape, rounds)]


def _rows(num_tokens: int, num_inputs: int, num_outputs: int, rounds: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    values = torch.randn(num_tokens, num_inputs).bfloat16()
    gradient = torch.randn(num_tokens, num_outputs).bfloat16()
    weight, bias = torch.randn(num_outputs, num_inputs) / num_inputs**0.5, torch.randn(num_outputs)
    packed, frozen = PackedLinear(weight, bias), FrozenLinear(weight, bias)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "training, forward": (
            lambda: native_ops.linear(values, weight, bias),
            lambda: torch.addmm(bias.bfloat16(), values, weight.bfloat16().t()),
        ),
        "training, gradient of the input": (
            lambda: native_ops.linear_backward_input(gradient, weight),
            lambda: gradient @ weight.bfloat16(),
        ),
        "training, gradients of weight and bias": (
            lambda: native_ops.linear_backward_weight(gradient, values),
            lambda: ((gradient.t() @ values).float(), gradient.sum(0).float()),
        ),
        "frozen, bf16": (lambda: packed(values), lambda: frozen(values)),
        "frozen, int8": (_int8(values, weight, bias)),
    }
    operations = 2e-9 * num_tokens * num_inputs * num_outputs
    found = []
    for name, (ours, theirs) in pairs.items():
        with torch.inference_mode():
            seconds = in_turns({"bertsmith": ours, "PyTorch": theirs}, rounds, warm_up=5)
        rates = {side: operations / sorted(taken)[rounds // 2] for side, taken in seconds.items()}
        sides = {"tokens": num_tokens, "inputs": num_inputs, "outputs": num_outputs}
        found.append(sides | {"product": name, "ratio": str(ratio(seconds["PyTorch"], seconds["bertsmith"]))} | rates)
    return found


def _int8(values: Tensor, weight: Tensor, bias: Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Ours rounds each row of activations as it comes; oneDNN's are given rounded, with one scale for all."""
    ours = PackedLinear(weight, bias, "int8")
    scale = weight.abs().amax(1) / 127
    steps = (weight / scale[:, None]).round().to(torch.int8)
    laid_out = torch.ops.onednn.qlinear_prepack(steps, list(values.shape))
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    rounded = (values.float() * 25 + 128).round().clamp(0, 255).to(torch.uint8)
    return lambda: ours(values), lambda: torch.ops.onednn.qlinear_pointwise(
        rounded, 1 / 25, 128, laid_out, scale, zeros, bias, 1.0, 0, torch.bfloat16, "none", [], ""
    )
