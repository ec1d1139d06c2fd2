"""One optimizer step's samples as micro-batches, and the gradient over them. Knows `Task`, not optimizers or schedules.

Whatever the cuts, the gradient is that of the whole step: each loss is divided by its count over all micro-batches, and
what a loss compares stays together, as the task's `coupling` says. Of several processes each has its share of the
samples, and the gradient is that of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Truncation, Window, micro_batches
from bertsmith.runtime.device import Precision, autocast
from bertsmith.runtime.processes import ALONE, Processes
from bertsmith.tasks.task import CoupledTask, Task
from bertsmith.training.adversary import Adversary

Beside: TypeAlias = Callable[[nn.Module, int, Batch], AbstractContextManager[None]]


@dataclass(frozen=True)
class StepFacts:
    """What is in a step, or in one process's share of it.

    counts: what each named loss is divided by. truncation: of the samples.
    """

    counts: Mapping[str, float] = field(default_factory=dict)
    num_tokens: int = 0
    truncation: Truncation = field(default_factory=Truncation)

    def __add__(self, other: Self) -> StepFacts:
        names = {*self.counts, *other.counts}
        return StepFacts(
            {name: self.counts.get(name, 0) + other.counts.get(name, 0) for name in names},
            self.num_tokens + other.num_tokens,
            self.truncation + other.truncation,
        )


@dataclass(frozen=True)
class Step:
    """batches: this process's micro-batches. facts: what is in them; counts of a loss that couples rows once only.

    whole, order: for a loss that couples all rows, every window of every process collated as one, and for each window
    in the order of the micro-batches its place there; else None and empty. num_idle: batches at the end that count for
    nothing and only keep other processes company.
    """

    batches: Sequence[Batch]
    facts: StepFacts
    whole: Batch | None = None
    order: tuple[int, ...] = ()
    num_idle: int = 0

    def idle(self, num_batches: int) -> Step:
        """The same step with its last batch repeated, for nothing, until there are `num_batches`."""
        missing = num_batches - len(self.batches)
        return replace(self, batches=[*self.batches, *[self.batches[-1]] * missing], num_idle=self.num_idle + missing)


def make_step(
    task: Task[Any, Any], samples: Sequence[Sequence[Window]], max_tokens: int, group: Processes = ALONE
) -> Step:
    """The windows of each sample, cut into micro-batches of up to `max_tokens` as the task's coupling allows.

    samples: those of this process; for a loss that couples all rows those of every process, of which this one's batches
    have every `group.size`-th.
    """
    windows = [window for sample in samples for window in sample]
    places = list(range(len(windows)))
    coupled = task.coupling == "step"
    units = [[place] for place in (places[group.rank :: group.size] if coupled else places)]
    if task.coupling == "example":
        ends = torch.tensor([len(sample) for sample in samples]).cumsum(0).tolist()
        units = [places[end - len(sample) : end] for end, sample in zip(ends, samples, strict=True)]
    parts = micro_batches(units, lambda unit: sum(windows[place].num_tokens for place in unit), max_tokens)
    orders = [[place for unit in part for place in unit] for part in parts]
    batches = [task.collate([windows[place] for place in order]) for order in orders]
    whole = task.collate(windows) if coupled else None
    counts: dict[str, float] = {}
    for batch in batches if whole is None else [whole] if group.is_first else []:
        for name, count in batch.counts.items():
            counts[name] = counts.get(name, 0) + count
    facts = StepFacts(
        counts,
        sum(windows[place].num_tokens for order in orders for place in order),
        Truncation() if coupled and not group.is_first else Truncation.of(samples),
    )
    return Step(batches, facts, whole, tuple(place for order in orders for place in order) if coupled else ())


def backward(
    task: Task[Any, Any],
    network: nn.Module,
    step: Step,
    counts: Mapping[str, float],
    precision: Precision,
    group: Processes = ALONE,
    adversarial_epsilon: float | None = None,
) -> dict[str, Tensor]:
    """Adds the gradient of this process's share of a step to the parameters; the sum of each named loss over it.

    counts: what each loss is divided by, those of the step of all processes. adversarial_epsilon: also add the gradient
    with the embeddings moved so far, see `adversary.py`; the sums are those before the move, and both passes draw the
    same dropout.
    """
    if adversarial_epsilon is None:
        return _backward(task, network, step, counts, precision, group, _beside_nothing)
    device = next(network.parameters()).device
    adversary = Adversary(adversarial_epsilon)
    state = _random_state(device)
    sums = _backward(task, network, step, counts, precision, group, adversary.beside)
    adversary.turn(step.batches)
    _set_random_state(device, state)
    _backward(task, network, step, counts, precision, group, adversary.beside)
    return sums


def _beside_nothing(network: nn.Module, place: int, batch: Batch) -> AbstractContextManager[None]:
    return nullcontext()


def _backward(
    task: Task[Any, Any],
    network: nn.Module,
    step: Step,
    counts: Mapping[str, float],
    precision: Precision,
    group: Processes,
    beside: Beside,
) -> dict[str, Tensor]:
    """One pass. beside: what each micro-batch, by its place in the step, is computed within."""
    if step.whole is not None:
        assert isinstance(task, CoupledTask)
        return _coupled_backward(task, network, step, counts, precision, group, beside)
    device = next(network.parameters()).device
    sums: dict[str, Tensor] = {}
    for place, batch in enumerate(step.batches):
        batch = batch.to(device)
        with beside(network, place, batch), autocast(precision, device):
            named = task.loss(network, batch)
        weight = 1.0 if place < len(step.batches) - step.num_idle else 0.0
        (_total(named, counts) * weight).backward()  # type: ignore[no-untyped-call]
        for name, value in named.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach() * weight
    return sums


def _total(named: Mapping[str, Tensor], counts: Mapping[str, float]) -> Tensor:
    return torch.stack([value / (counts[name] or 1) for name, value in named.items()]).sum()


def _coupled_backward(
    task: CoupledTask[Any, Any],
    network: nn.Module,
    step: Step,
    counts: Mapping[str, float],
    precision: Precision,
    group: Processes,
    beside: Beside,
) -> dict[str, Tensor]:
    """Representations without a graph, the loss and its gradient on them, then each piece again with its gradient.

    The second pass draws the dropout of the first. A step of one piece is computed once, with its graph. Of several
    processes each sees the representations of all, and the loss itself counts in the first one only.
    """
    device = next(network.parameters()).device
    assert step.whole is not None
    whole, once = step.whole.to(device), len(step.batches) == 1
    states, pieces = [], []
    with torch.set_grad_enabled(once):
        for place, batch in enumerate(step.batches):
            states.append(_random_state(device))
            batch = batch.to(device)
            with beside(network, place, batch), autocast(precision, device):
                pieces.append(task.represent(network, batch).float())
    rows, order, begin = _of_all(group, pieces, torch.tensor(step.order, dtype=torch.int64, device=device))
    named = task.couple(rows[order.argsort()], whole)
    _total(named, counts).backward()  # type: ignore[no-untyped-call]
    assert rows.grad is not None
    gradients = torch.split(rows.grad[begin : begin + len(step.order)], [len(piece) for piece in pieces])
    for place, (batch, piece, state, gradient) in enumerate(zip(step.batches, pieces, states, gradients, strict=True)):
        if not once:
            _set_random_state(device, state)
            batch = batch.to(device)
            with beside(network, place, batch), autocast(precision, device):
                piece = task.represent(network, batch).float()
        piece.backward(gradient)  # type: ignore[no-untyped-call]
    return {name: value.detach() * group.is_first for name, value in named.items()}


def _of_all(group: Processes, pieces: Sequence[Tensor], order: Tensor) -> tuple[Tensor, Tensor, int]:
    """The representations of all processes, ready for a gradient, their places in the step, and where ours begin."""
    width = max(group.gather(pieces[0].shape[1] if pieces else 0))
    own = torch.cat([piece.detach() for piece in pieces]) if pieces else torch.empty(0, width, device=order.device)
    rows, begin = group.concatenate(own)
    places, _ = group.concatenate(order)
    return rows.requires_grad_(), places, begin


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
