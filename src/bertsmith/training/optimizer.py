"""AdamW as BERT was trained with it: decoupled weight decay on matrices, none on biases and norms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, cast

import torch
from pydantic import Field
from torch import nn

from bertsmith.kernels.adamw import AdamWStep, RowSteps, adamw_step, can_step, fits_kernel
from bertsmith.model.networks import looked_up
from bertsmith.settings import Settings
from bertsmith.training.parallel import laid_out_as, whole

LARGE_TABLE = 1_000_000
"""Values from which on a table's gradient is kept as the rows that a step met."""


class OptimizerSettings(Settings):
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay; none on biases and norms")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of the gradient's running mean")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of its square's running mean")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the denominator")
    max_grad_norm: float | None = Field(1.0, gt=0, description="gradients are scaled down to this norm; None: never")


class AdamW(torch.optim.AdamW):
    """PyTorch's, with its state and its results; one pass of the compiled kernel over each parameter that it fits.

    gradient_scale: by which the next step multiplies every gradient. Tables given to `by_rows` are up to date only
    where they are looked up, and everywhere after `catch_up`.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.gradient_scale = 1.0
        self._tables: dict[torch.Tensor, RowSteps | None] = {}

    def clip(self, max_norm: float | None) -> float:
        """The norm of all gradients; the next step scales them down to `max_norm` (Pascanu et al. 2013)."""
        gradients = []
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if (gradient := parameter.grad) is None:
                continue
            if gradient.is_sparse:
                gradient = parameter.grad = gradient.coalesce()
            gradients.append(gradient.values() if gradient.is_sparse else gradient)
        norms = torch._foreach_norm(gradients)
        norm = float(whole(torch.linalg.vector_norm(torch.stack(norms)))) if norms else 0.0
        self.gradient_scale = 1.0 if max_norm is None else min(1.0, max_norm / (norm + 1e-6))
        return norm

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step with the gradients that are there, by the kernel where it fits all of them."""
        assert closure is None, "losses are computed outside"
        owners = [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]
        if all(fits_kernel(parameter) for _, parameter in owners):
            for group, parameter in owners:
                self._kernel_step(group, parameter)
        else:
            self.catch_up()
            for _, parameter in owners:
                if parameter.grad.is_sparse:
                    parameter.grad = parameter.grad.to_dense()
            if self.gradient_scale != 1.0:
                torch._foreach_mul_([parameter.grad for _, parameter in owners], self.gradient_scale)
            super().step()
        self.gradient_scale = 1.0

    def _kernel_step(self, group: dict[str, Any], parameter: torch.Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        step = AdamWStep(
            int(state["step"]), group["lr"], beta1, beta2, group["eps"], group["weight_decay"], self.gradient_scale
        )
        assert parameter.grad is not None
        if not parameter.grad.is_sparse:
            adamw_step(parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"], step)
            return
        rows = self._tables.get(parameter) or RowSteps(parameter, state["exp_avg"], state["exp_avg_sq"])
        rows.step(parameter.grad, step)
        if parameter in self._tables:
            self._tables[parameter] = rows
        else:
            rows.catch_up()

    def catch_up(self) -> None:
        """Before anybody reads the tables whole, or their moments: every row has done every step afterwards."""
        for rows in self._tables.values():
            if rows is not None:
                rows.catch_up()

    @contextmanager
    def by_rows(self, tables: Sequence[nn.Embedding]) -> Iterator[None]:
        """Within it, the gradient of tables that are only looked up in is the rows that a step met.

        A dense one would be filled with zeros, read for its norm and read again, for a few hundred rows of 30,000; and
        rows that are not met do their steps when they are looked up.
        """
        hooks = []
        for table in tables:
            table.sparse = True
            self._tables[table.weight] = None
            hooks.append(table.register_forward_pre_hook(self._before_look_up))
        try:
            yield
        finally:
            self.catch_up()
            for table, hook in zip(tables, hooks, strict=True):
                table.sparse = False
                hook.remove()
                del self._tables[table.weight]

    @property
    def tables(self) -> Set[torch.Tensor]:
        """Those within `by_rows`, whose gradient is sparse."""
        return self._tables.keys()

    def tensors_of(self, network: nn.Module) -> dict[str, torch.Tensor]:
        """Moments and step counts, by NAME/KIND of the network's parameters; whole where they lie in pieces."""
        return {
            f"{name}/{kind}": whole(value)
            for name, parameter in network.named_parameters()
            for kind, value in self.state.get(parameter, {}).items()
        }

    def restore(self, network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on with those; not within `by_rows`, which holds on to the moments that are there."""
        parameters = dict(network.named_parameters())
        self.state.clear()
        for name, value in tensors.items():
            owner, _, kind = name.rpartition("/")
            self.state[parameters[owner]][kind] = laid_out_as(parameters[owner], value)

    def _before_look_up(self, table: nn.Module, ids: tuple[torch.Tensor]) -> None:
        rows = self._tables[cast(nn.Embedding, table).weight]
        if rows is not None:
            rows.catch_up(ids[0])


def build_optimizer(
    network: nn.Module,
    settings: OptimizerSettings,
    learning_rate: float,
    rate_factors: Mapping[str, float] | None = None,
) -> AdamW:
    """AdamW (Loshchilov and Hutter 2019) over what is not frozen: vectors (biases, norms) are not decayed, all else is.

    rate_factors: of parameters by name, 1 where none is given; parameters of one factor are groups of their own, whose
    `rate_factor` tells it: whoever sets a group's learning rate multiplies by it.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = (rate_factors or {}).get(name, 1.0)
            groups.setdefault((factor, parameter.ndim >= 2), []).append(parameter)
    return AdamW(
        [
            {
                "params": groups[factor, decayed],
                "weight_decay": settings.weight_decay if decayed else 0.0,
                "rate_factor": factor,
                "lr": learning_rate * factor,
            }
            for factor, decayed in sorted(groups, reverse=True)
        ],
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,
    )


def large_tables(network: nn.Module) -> list[nn.Embedding]:
    """Those whose gradient is better kept as the rows that a step met, and may be."""
    return [table for table in looked_up(network) if table.weight.numel() >= LARGE_TABLE and can_step(table.weight)]
