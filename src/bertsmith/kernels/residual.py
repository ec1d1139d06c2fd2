"""What closes each half of a post-normalized layer: layer_norm(residual + dropout(sublayer)). No model.

Shapes: T tokens, H hidden size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.kernels import native_ops
from bertsmith.kernels.dropout import dropout as random_dropout


def residual_norm(
    residual: Tensor, sublayer: Tensor, weight: Tensor, bias: Tensor, eps: float, *, dropout: float = 0.0
) -> Tensor:
    """[T, H] -> [T, H] (Vaswani et al. 2017, section 3.1); `dropout` is the probability in force now.

    In bf16 the compiled kernel sums and normalizes in fp32 and rounds once, to bf16; elsewhere plain PyTorch computes.
    """
    if _fits_kernel(sublayer, weight):
        num_kept = native_ops.num_kept_of(dropout)
        seed = native_ops.draw_seed(dropout)
        out: Tensor = native_ops.residual(residual.to(torch.bfloat16), sublayer, weight, bias, eps, seed, num_kept)[0]
        return out
    return F.layer_norm(residual + random_dropout(sublayer, dropout), weight.shape, weight, bias, eps)


def _fits_kernel(sublayer: Tensor, weight: Tensor) -> bool:
    return (
        sublayer.dtype == torch.bfloat16
        and sublayer.device.type == "cpu"
        and weight.dtype == torch.float32
        and sublayer.shape[-1] % 32 == 0
        and native_ops.is_available()
    )
