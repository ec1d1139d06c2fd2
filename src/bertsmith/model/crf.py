"""Linear chains over packed sequences: likelihood, best sequence, marginals, all sequences of a batch side by side.

Knows scores of labels, not what the labels mean. Source: Lafferty, McCallum, Pereira 2001; Lample et al. 2016.
Shapes: M rows in all, n sequences of at least one row, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import torch
from torch import Tensor, nn

_Reduce: TypeAlias = Callable[[Tensor], Tensor]

NEVER = -1e9
"""The score of what is forbidden: no weight beside anything allowed; finite, so that gradients are numbers."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Scores beside those of the rows: starts, ends: [L], or [n, L] where sequences differ in them; transitions:
    [L, L], from a label to the next.
    """

    starts: Tensor
    transitions: Tensor
    ends: Tensor

    def restricted(self, starts: Tensor, transitions: Tensor, ends: Tensor) -> Chain:
        """The same chain over those sequences alone whose steps are all allowed: bool of the shapes of the scores."""
        pairs = ((self.starts, starts), (self.transitions, transitions), (self.ends, ends))
        return Chain(*(torch.where(allowed, scores, NEVER) for scores, allowed in pairs))

    def open(self, before: Tensor, after: Tensor) -> Chain:
        """For sequences cut out of longer ones; bool [n]: whether rows are missing before the first, after the last.

        Any label may stand at such a border, and all are alike there.
        """
        return Chain(
            torch.where(before[:, None], 0.0, self.starts),
            self.transitions,
            torch.where(after[:, None], 0.0, self.ends),
        )

    def log_likelihood(self, scores: Tensor, labels: Tensor, lengths: Sequence[int]) -> Tensor:
        """[n]: log probability of each sequence of `labels` [M] under `scores` [M, L]."""
        first, last = _borders(lengths, scores.device)
        rows = scores.gather(1, labels[:, None]).squeeze(1)
        steps = torch.cat([self.starts.new_zeros(1), self.transitions[labels[:-1], labels[1:]]])
        steps = steps.index_fill(0, first, 0.0)
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=scores.device), last - first + 1)
        inner = rows.new_zeros(len(lengths)).index_add(0, owner, rows + steps)
        starts, ends = (
            border.expand(len(lengths), -1).gather(1, labels[rows, None]).squeeze(1)
            for border, rows in ((self.starts, first), (self.ends, last))
        )
        return inner + starts + ends - self.log_partition(scores, lengths)

    def log_partition(self, scores: Tensor, lengths: Sequence[int]) -> Tensor:
        """[n]: log of the summed weights of all sequences."""
        forward = self._forward(scores, _Steps.of(lengths, scores.device))
        _, last = _borders(lengths, scores.device)
        return (forward[last] + self.ends).logsumexp(1)

    def log_marginals(self, scores: Tensor, lengths: Sequence[int]) -> Tensor:
        """[M, L]: log probability of each label at each row, whatever the others are."""
        reverse = Chain(self.ends, self.transitions.T, self.starts)
        forward = self._forward(scores, _Steps.of(lengths, scores.device))
        backward = reverse._forward(scores, _Steps.of(lengths, scores.device, reverse=True))
        return (forward + backward - scores).log_softmax(1)

    def best(self, scores: Tensor, lengths: Sequence[int]) -> Tensor:
        """[M]: the likeliest sequence of labels of each sequence of rows (Viterbi)."""
        steps = _Steps.of(lengths, scores.device)
        rows = steps.scan(scores, self.starts, self.transitions, lambda values: values.amax(1))
        ends = self.ends.expand(len(lengths), -1)[steps.order]
        labels = torch.empty(len(scores), dtype=torch.int64, device=scores.device)
        current = labels.new_empty(0)
        for place, values in zip(reversed(steps.places), reversed(rows), strict=True):
            # The longest sequences stand first: those that go on are weighed by their next label, the others end here.
            following = torch.cat([self.transitions[:, current].T, ends[len(current) : len(place)]])
            current = (values + following).argmax(1)
            labels[place] = current
        return labels

    def _forward(self, scores: Tensor, steps: _Steps) -> Tensor:
        rows = steps.scan(scores, self.starts, self.transitions, lambda values: values.logsumexp(1))
        return torch.cat(rows)[torch.cat(steps.places).argsort()]


@dataclass(frozen=True, eq=False)
class _Steps:
    """order: the sequences, longest first. places: for each step the rows of all that are so long, in this order."""

    order: Tensor
    places: list[Tensor]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device, *, reverse: bool = False) -> _Steps:
        first, last = _borders(lengths, device)
        order = torch.tensor(lengths, device=device).argsort(descending=True, stable=True)
        sizes = sorted(lengths, reverse=True)
        places, active = [], len(sizes)
        for step in range(sizes[0]):
            while sizes[active - 1] <= step:
                active -= 1
            sequences = order[:active]
            places.append(last[sequences] - step if reverse else first[sequences] + step)
        return cls(order, places)

    def scan(self, scores: Tensor, starts: Tensor, transitions: Tensor, reduce: _Reduce) -> list[Tensor]:
        """For each step [active, L]: what has come so far, reduced over the label before ([active, from, to])."""
        rows = [starts.expand(len(self.order), -1)[self.order] + scores[self.places[0]]]
        for place in self.places[1:]:
            rows.append(scores[place] + reduce(rows[-1][: len(place), :, None] + transitions))
        return rows


def _borders(lengths: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """The first and the last row of each sequence."""
    ends = torch.tensor(list(accumulate(lengths)), device=device)
    return ends - torch.tensor(lengths, device=device), ends - 1


class Crf(nn.Module):
    """The learned scores of a chain over `num_labels` labels, zero at first: all sequences alike.

    The parameters are the scores divided by `SPEED`. Adam moves each weight by about the learning rate a step: enough
    for an encoder's, but scores that have to travel whole units would hardly leave zero.
    """

    SPEED = 100.0

    def __init__(self, num_labels: int):
        super().__init__()
        self.starts = nn.Parameter(torch.zeros(num_labels))
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))
        self.ends = nn.Parameter(torch.zeros(num_labels))

    def chain(self) -> Chain:
        """The scores in float32, in which sums over long sequences are kept."""
        starts, transitions, ends = (part.float() * self.SPEED for part in (self.starts, self.transitions, self.ends))
        return Chain(starts, transitions, ends)
