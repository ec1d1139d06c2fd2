"""Adversarial training on embeddings (Miyato et al. 2017): a second pass with each sequence moved where it hurts most.

The token vectors s of a sequence, [n, E], are moved by r = epsilon g / |g|, where g is the gradient of the loss on s
and |g| its length over the whole sequence; the gradients of both passes are added up. As r belongs to one sequence
alone, neither micro-batches nor processes change it. Off, none of this is in the way: no hook, no second pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch


@dataclass
class Adversary:
    """The moves of one step's micro-batches. epsilon: length of a sequence's move. moves: by place, [T, E] each.

    While it `seeks`, the moves are zero and take up the gradient; afterwards they are what they found.
    """

    epsilon: float
    moves: dict[int, Tensor] = field(default_factory=dict)
    seeks: bool = True

    @contextmanager
    def beside(self, network: nn.Module, place: int, batch: Batch) -> Iterator[None]:
        """While it lasts, the network's token vectors of this batch, the `place`-th of the step, are moved."""
        ids = batch.packed.input_ids

        def move(module: nn.Module, arguments: tuple[Any, ...], vectors: Tensor) -> Tensor:
            if arguments[0] is not ids:  # the target side of a sequence to sequence network, which looks here too
                return vectors
            if self.seeks and place not in self.moves:
                self.moves[place] = torch.zeros_like(vectors, requires_grad=True)
            return vectors + self.moves[place]

        hook = _token_table(network).register_forward_hook(move)
        try:
            yield
        finally:
            hook.remove()

    def turn(self, batches: Sequence[Batch]) -> None:
        """From seeking to moving. Where a sequence has no gradient it is not moved."""
        assert len(self.moves) == len(batches), "a network looks up the ids of its batch as they are"
        for place, found in self.moves.items():
            gradient = torch.zeros_like(found) if found.grad is None else found.grad
            lengths = torch.tensor(batches[place].packed.lengths, device=gradient.device)
            owner = torch.repeat_interleave(torch.arange(len(lengths), device=gradient.device), lengths)
            squares = gradient.double().square().sum(1)
            norms = torch.zeros(len(lengths), dtype=torch.float64, device=gradient.device)
            norms = norms.index_add(0, owner, squares).sqrt()
            scale = torch.where(norms > 0, self.epsilon / norms, 0.0)
            self.moves[place] = (gradient.double() * scale[owner][:, None]).to(gradient.dtype)
        self.seeks = False


def _token_table(network: nn.Module) -> nn.Module:
    table: Any = network.get_submodule("encoder.embeddings.tokens")
    assert isinstance(table, nn.Module)
    return table
