"""Dropout (Srivastava et al. 2014) on a CPU with 16 random bits a value, where PyTorch draws 64. No model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.kernels.native_ops import KEEP_ALL, num_kept_of

PER_DRAW = 4
"""Decisions in one draw of 64 bits."""


def dropout(values: Tensor, fraction: float) -> Tensor:
    """`values`, of any shape, a random `fraction` of them 0 and the others scaled up to the same mean.

    On a CPU the fraction is exact to 1/131,072 (0 and 1 are exact), and the scale is the inverse of what is kept.
    """
    if fraction in (0.0, 1.0) or values.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(values, fraction)
    num_kept = num_kept_of(fraction)
    if num_kept == KEEP_ALL:
        return values
    draws = torch.empty(-(-values.numel() // PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
    decisions = draws.view(torch.int16)[: values.numel()].view(values.shape)
    # int16 counts from -32,768.
    kept = (decisions < num_kept - KEEP_ALL // 2).to(values.dtype)
    return values * kept.mul_(KEEP_ALL / num_kept)


class Dropout(nn.Dropout):
    """PyTorch's layer with the function above."""

    def forward(self, values: Tensor) -> Tensor:
        return dropout(values, self.p) if self.training else values
