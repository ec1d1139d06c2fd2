"""AdamW's step for one parameter by the compiled kernel; its twin is `torch.optim.AdamW`. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bertsmith.kernels.library import compiled, engine


@dataclass(frozen=True)
class AdamWStep:
    """step: counted from 1. gradient_scale: by which every gradient is multiplied first, for clipping."""

    step: int
    learning_rate: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    gradient_scale: float = 1.0


def can_step(parameter: Tensor) -> bool:
    """Whether the kernel updates tensors of this kind: contiguous, fp32, on the CPU."""
    fits = parameter.device.type == "cpu" and parameter.dtype == torch.float32 and parameter.is_contiguous()
    return fits and engine().library is not None


def fits_kernel(parameter: Tensor) -> bool:
    """Whether it updates this one with the gradient that it has."""
    gradient = parameter.grad
    if gradient is None or not can_step(parameter):
        return False
    return gradient.is_sparse or gradient.is_contiguous()


def adamw_step(parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: AdamWStep) -> None:
    """Updates a parameter and its moments in place.

    parameter, first, second: fp32 of one shape, contiguous. gradient: the same, or sparse over the rows: the step is
    that of the dense gradient, rows without one included.
    """
    library = compiled()
    numbers = (
        step.gradient_scale,
        step.beta1,
        step.beta2,
        1 - step.beta1,
        1 - step.beta2,
        step.eps,
        1 - step.learning_rate * step.weight_decay,
        step.learning_rate / (1 - step.beta1**step.step),
        (1 - step.beta2**step.step) ** -0.5,
    )
    moments = first.data_ptr(), second.data_ptr()
    if not gradient.is_sparse:
        library.bertsmith_adamw(parameter.data_ptr(), gradient.data_ptr(), *moments, parameter.numel(), *numbers)
        return
    gradient = gradient.coalesce()
    rows, values = gradient.indices()[0].contiguous(), gradient.values().contiguous()
    num_rows = len(parameter)
    library.bertsmith_adamw_rows(
        parameter.data_ptr(),
        rows.data_ptr(),
        values.data_ptr(),
        len(rows),
        *moments,
        num_rows,
        parameter.numel() // num_rows,
        *numbers,
    )
