"""One optimizer step's samples as micro-batches, and the gradient over them. Knows `Task`, not optimizers or schedules.

Whatever the cuts, the gradient is that of the whole step: each loss is divided by its count over all micro-batches, and
what a loss compares stays together, as the task's `coupling` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Truncation, Window, micro_batches
from bertsmith.runtime.device import Precision, autocast
from bertsmith.tasks.task import CoupledTask, Task


@dataclass(frozen=True)
class Step:
    """batches: the micro-batches. truncation: of the step's samples.

    whole, order: for a loss that couples all rows, every window collated as one, and for each window in the order of
    the micro-batches its place there; else None and empty.
    """

    batches: Sequence[Batch]
    truncation: Truncation
    whole: Batch | None = None
    order: tuple[int, ...] = ()

    @property
    def num_tokens(self) -> int:
        return sum(batch.packed.num_tokens for batch in self.batches)

    @property
    def counts(self) -> dict[str, float]:
        """What each named loss is divided by."""
        counts: dict[str, float] = {}
        for batch in self.batches if self.whole is None else [self.whole]:
            for name, count in batch.counts.items():
                counts[name] = counts.get(name, 0) + count
        return counts


def make_step(task: Task[Any, Any], samples: Sequence[Sequence[Window]], max_tokens: int) -> Step:
    """The windows of each sample, cut into micro-batches of up to `max_tokens` as the task's coupling allows."""
    windows = [window for sample in samples for window in sample]
    places = list(range(len(windows)))
    units = [[place] for place in places]
    if task.coupling == "example":
        ends = torch.tensor([len(sample) for sample in samples]).cumsum(0).tolist()
        units = [places[end - len(sample) : end] for end, sample in zip(ends, samples, strict=True)]
    parts = micro_batches(units, lambda unit: sum(windows[place].num_tokens for place in unit), max_tokens)
    orders = [[place for unit in part for place in unit] for part in parts]
    coupled = task.coupling == "step"
    return Step(
        [task.collate([windows[place] for place in order]) for order in orders],
        Truncation.of(samples),
        task.collate(windows) if coupled else None,
        tuple(place for order in orders for place in order) if coupled else (),
    )


def backward(task: Task[Any, Any], network: nn.Module, step: Step, precision: Precision) -> dict[str, float]:
    """Adds the step's gradient to the parameters; the mean of each named loss."""
    device = next(network.parameters()).device
    counts = step.counts
    sums: dict[str, Tensor] = {}
    if step.whole is not None:
        assert isinstance(task, CoupledTask)
        sums = _coupled_backward(task, network, step, counts, precision)
    else:
        for batch in step.batches:
            with autocast(precision, device):
                named = task.loss(network, batch.to(device))
            _total(named, counts).backward()  # type: ignore[no-untyped-call]
            for name, value in named.items():
                sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
    return {name: float(value) / (counts[name] or 1) for name, value in sums.items()}


def _total(named: Mapping[str, Tensor], counts: Mapping[str, float]) -> Tensor:
    return torch.stack([value / (counts[name] or 1) for name, value in named.items()]).sum()


def _coupled_backward(
    task: CoupledTask[Any, Any],
    network: nn.Module,
    step: Step,
    counts: Mapping[str, float],
    precision: Precision,
) -> dict[str, Tensor]:
    """Representations without a graph, the loss and its gradient on them, then each piece again with its gradient.

    The second pass draws the dropout of the first. A step of one piece is computed once, with its graph.
    """
    device = next(network.parameters()).device
    assert step.whole is not None
    whole, once = step.whole.to(device), len(step.batches) == 1
    order = torch.tensor(step.order, device=device)
    states, pieces = [], []
    with torch.set_grad_enabled(once):
        for batch in step.batches:
            states.append(_random_state(device))
            with autocast(precision, device):
                pieces.append(task.represent(network, batch.to(device)).float())
    rows = torch.cat(pieces)
    representations = rows if once else rows.detach().requires_grad_()
    named = task.couple(representations[order.argsort()], whole)
    _total(named, counts).backward()  # type: ignore[no-untyped-call]
    if not once:
        assert representations.grad is not None
        gradients = torch.split(representations.grad, [len(piece) for piece in pieces])
        for batch, state, gradient in zip(step.batches, states, gradients, strict=True):
            _set_random_state(device, state)
            with autocast(precision, device):
                piece = task.represent(network, batch.to(device)).float()
            piece.backward(gradient)  # type: ignore[no-untyped-call]
    return {name: value.detach() for name, value in named.items()}


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
