"""Linear layers for prediction on a CPU with bf16 products: weights kept in bf16, in the layout that oneDNN multiplies.

Shapes: T tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TYPICAL_TOKENS = 4096
"""The T for which oneDNN lays out the weights; any other works too."""


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
