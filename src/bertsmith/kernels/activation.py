"""GELU, the one activation whose speed shows. No model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.kernels import native_ops


def gelu(values: Tensor) -> Tensor:
    """x times the normal distribution's share below x (Hendrycks and Gimpel 2016), of any shape.

    In bf16 on a CPU the compiled kernel computes in fp32 and rounds once; elsewhere plain PyTorch.
    """
    if values.dtype == torch.bfloat16 and values.device.type == "cpu" and native_ops.is_available():
        out: Tensor = native_ops.gelu(values)
        return out
    return F.gelu(values)
