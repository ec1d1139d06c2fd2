"""Linear layers for prediction on a CPU with bf16 products: weights kept in bf16, in the layout that oneDNN multiplies.

Shapes: T tokens.
"""

from __future__ import annotations

from copy import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)
TYPICAL_TOKENS = 4096
"""The T for which oneDNN lays out the weights; any other works too."""


class FrozenLinear(nn.Module):
    """What `linear` computes, in bf16, with weights that do not change any more: [T, in] -> bf16 [T, out]."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().bfloat16()
        bias = None if linear.bias is None else linear.bias.detach().bfloat16()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.is_packed = bool(torch._C._has_mkldnn)
        if self.is_packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_TOKENS)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        values = values.bfloat16()
        if not self.is_packed:
            return F.linear(values, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, "none", [], "")
        return out


def frozen(network: Module) -> Module:
    """A copy of `network` that computes the same in bf16 with frozen linear layers; it shares all its other weights.

    For prediction alone: what is trained, saved or explained is the original, which stays as it is.
    """
    if type(network) is nn.Linear:
        return FrozenLinear(network)  # type: ignore[return-value, arg-type]
    twin = copy(network)
    twin._modules = {name: None if part is None else frozen(part) for name, part in network._modules.items()}
    return twin
