"""One of two processes: every task's gradient over both of them, beside that of a process alone, as JSON on stdout.

torchrun --nproc-per-node 2 share_of_steps.py
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.data.order import sample_rng
from bertsmith.errors import SettingsError
from bertsmith.model.networks import looked_up
from bertsmith.runtime.processes import ALONE, Processes, joined
from bertsmith.tasks import TASKS
from bertsmith.training.parallel import Replicas, spread, whole
from bertsmith.training.step import Step, StepFacts, make_step

MAX_TOKENS = 24
"""A micro-batch holds a few rows, and the processes have different numbers of them."""


def main() -> None:
    with joined(60) as group:
        found = {f"{name}, {kind}": difference(name, kind, group) for name in TASKS for kind in ("ddp", "fsdp")}
        found["rows of a table"] = difference("classification", "ddp", group, by_rows=True)
        found["more processes than samples"] = difference("classification", "ddp", group, num_samples=1)
        found["more processes than samples, fsdp"] = difference("classification", "fsdp", group, num_samples=1)
        if group.is_first:
            print(json.dumps(found))


def difference(name: str, kind: Any, group: Processes, *, num_samples: int = 7, by_rows: bool = False) -> float | None:
    """The largest of all gradients and losses; None where that task refuses that kind."""
    toy = toy_task(name)
    torch.manual_seed(0)
    network = toy.task.build(toy_config()).train()
    samples = toy.task.training_examples(toy.samples)[:num_samples]
    windows = [toy.task.encode(sample, toy_tokenizer(), sample_rng(0, 0, n)) for n, sample in enumerate(samples)]
    alone = make_step(toy.task, windows, MAX_TOKENS)
    losses = Replicas(network, ALONE).backward(toy.task, alone, alone.facts.counts, "fp32")
    wanted = gradients(network)
    network.zero_grad()
    tables = looked_up(network) if by_rows else []
    for table in tables:
        table.sparse = True
    try:
        model = spread(network, kind, toy.task.coupling, group)
    except SettingsError:
        return None
    step = share(toy.task, windows, group)
    counts = sum(group.gather(step.facts), StepFacts()).counts
    assert counts == alone.facts.counts
    found = model.backward(toy.task, step, counts, "fp32", {table.weight for table in tables})
    got = gradients(model.trained)
    assert got.keys() == wanted.keys()
    apart = [float((got[key] - wanted[key]).abs().max()) for key in wanted]
    return max(*apart, *(abs(found[key] - losses[key]) for key in losses))


def share(task: Any, windows: list[Any], group: Processes) -> Step:
    own = windows if task.coupling == "step" else windows[group.rank :: group.size]
    if own:
        return make_step(task, own, MAX_TOKENS, group)
    spare = make_step(task, windows[:1], MAX_TOKENS)
    return Step(spare.batches, StepFacts(), num_idle=1)


def gradients(network: nn.Module) -> dict[str, Tensor]:
    found = {name: whole(p.grad) for name, p in network.named_parameters() if p.grad is not None}
    return {name: gradient.to_dense() if gradient.is_sparse else gradient for name, gradient in found.items()}


if __name__ == "__main__":
    main()
