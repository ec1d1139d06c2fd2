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

    @property
    def rule(self) -> tuple[float, ...]:
        return self.gradient_scale, self.beta1, self.beta2, 1 - self.beta1, 1 - self.beta2, self.eps

    @property
    def rate(self) -> tuple[float, float, float]:
        """What changes from step to step: how much of a value is kept, a move's size, the deviation's correction."""
        return (
            1 - self.learning_rate * self.weight_decay,
            self.learning_rate / (1 - self.beta1**self.step),
            (1 - self.beta2**self.step) ** -0.5,
        )


def can_step(parameter: Tensor) -> bool:
    """Whether the kernel updates tensors of this kind: contiguous, fp32, on the CPU, not in pieces over processes."""
    if type(parameter) not in (Tensor, torch.nn.Parameter):
        return False
    fits = parameter.device.type == "cpu" and parameter.dtype == torch.float32 and parameter.is_contiguous()
    return fits and engine().library is not None


def fits_kernel(parameter: Tensor) -> bool:
    """Whether it updates this one with the gradient that it has."""
    gradient = parameter.grad
    if gradient is None or not can_step(parameter):
        return False
    return gradient.is_sparse or gradient.is_contiguous()


def adamw_step(parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: AdamWStep) -> None:
    """Updates a parameter and its moments in place. All: fp32 of one shape, contiguous."""
    compiled().bertsmith_adamw(
        *(each.data_ptr() for each in (parameter, first, second, gradient)), parameter.numel(), *step.rule, *step.rate
    )


class RowSteps:
    """AdamW's steps on a table of which each step meets some rows; those that it does not meet are left behind.

    They move all the same, with a gradient of zeros, but only when `catch_up` is told that somebody will look at them.
    The bits are those of dense steps. table, first, second: fp32 [R, W], contiguous, changed in place.
    """

    def __init__(self, table: Tensor, first: Tensor, second: Tensor):
        self._values = (table, first, second)
        self._done = torch.zeros(len(table), dtype=torch.int32)
        self._rates = torch.empty(64, 3)
        self._num_steps = 0
        self._last: AdamWStep | None = None

    def step(self, gradient: Tensor, step: AdamWStep) -> None:
        """gradient: sparse over the rows."""
        if self._num_steps == len(self._rates):
            self._rates = torch.cat([self._rates, torch.empty_like(self._rates)])
        self._rates[self._num_steps] = torch.tensor(step.rate)
        self._num_steps += 1
        self._last = step
        gradient = gradient.coalesce()
        self._run(gradient.indices()[0].contiguous(), gradient.values().contiguous())

    def catch_up(self, rows: Tensor | None = None) -> None:
        """These rows, in any order and more than once, have done all steps afterwards; None: all rows."""
        self._run(torch.arange(len(self._done)) if rows is None else rows.contiguous(), None)
        if rows is None:
            self._done.zero_()
            self._num_steps = 0

    def _run(self, rows: Tensor, gradient: Tensor | None) -> None:
        if self._last is None or not self._num_steps:
            return
        num_rows, width = self._values[0].shape
        compiled().bertsmith_adamw_rows(
            *(each.data_ptr() for each in self._values),
            num_rows,
            width,
            self._done.data_ptr(),
            rows.data_ptr(),
            None if gradient is None else gradient.data_ptr(),
            rows.numel(),
            self._rates.data_ptr(),
            self._num_steps,
            *self._last.rule,
        )
