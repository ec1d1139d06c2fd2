"""Linear layers: as PyTorch computes them, or by the compiled product; and frozen ones in oneDNN's layout. No model.

Shapes: T tokens, K inputs, N outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.kernels import native_ops

LANES = 16
"""The kernels read rows so many values at a time."""
TYPICAL_TOKENS = 4096
"""The T for which oneDNN lays out the weights; any other works too."""


def linear(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """[T, K] -> [T, N], weight [N, K], bias [N].

    Where autocast asks a CPU for bf16 products, the compiled one rounds weights as it lays them out and gives their
    gradients in fp32; everywhere else PyTorch computes.
    """
    if _fits_kernel(values, weight, bias):
        out: Tensor = native_ops.linear(values.bfloat16(), weight, bias)
        return out
    return F.linear(values, weight, bias)


def _fits_kernel(values: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        values.device.type == "cpu"
        and values.ndim == 2
        and weight.dtype == torch.float32
        and (bias is None or bias.dtype == torch.float32)
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and weight.shape[0] % LANES == weight.shape[1] % LANES == 0
        and native_ops.is_available()
    )


class FrozenLinear(nn.Module):
    """What a linear layer of these weights computes, in bf16: [T, in] -> bf16 [T, out]. They do not change any more."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        weight = weight.detach().bfloat16()
        self.is_packed = bool(torch._C._has_mkldnn)
        if self.is_packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_TOKENS)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", None if bias is None else bias.detach().bfloat16(), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        values = values.bfloat16()
        if not self.is_packed:
            return F.linear(values, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, "none", [], "")
        return out

    def __reduce__(self) -> tuple[type[FrozenLinear], tuple[Tensor, Tensor | None]]:
        """Copied and pickled by its weights as they were: oneDNN's layout cannot be."""
        return FrozenLinear, (self.weight.to_dense() if self.is_packed else self.weight, self.bias)
