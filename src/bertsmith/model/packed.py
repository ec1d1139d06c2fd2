"""Packed: a batch as one run of real tokens and the lengths of its sequences; what every network takes.

Shapes: T tokens in all, n sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.kernels.attention import Layout, draw_layout
from bertsmith.runtime.device import sent

Ids = Sequence[int] | NDArray[Any]


@dataclass(frozen=True)
class Packed:
    """input_ids, token_type_ids, position_ids: [T] int64. lengths: tokens of each sequence; they add up to T.

    token_vectors: [T, E], read instead of the table's rows for `input_ids`; so explanations move from text to text.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    position_ids: Tensor
    lengths: tuple[int, ...]
    token_vectors: Tensor | None = None

    @classmethod
    def of(cls, input_ids: Sequence[Ids], token_type_ids: Sequence[Ids] | None = None) -> Packed:
        """Pack sequences of ids; token types default to 0, positions count from 0 in each sequence.

        >>> Packed.of([[2, 7, 3], [2, 3]]).position_ids.tolist()
        [0, 1, 2, 0, 1]
        """
        lengths = tuple(len(ids) for ids in input_ids)
        assert min(lengths, default=0) > 0, "a batch has at least one sequence, a sequence at least one token"
        ids = torch.from_numpy(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in input_ids]))
        types = (
            torch.zeros_like(ids)
            if token_type_ids is None
            else torch.from_numpy(np.concatenate([np.asarray(row, dtype=np.int64) for row in token_type_ids]))
        )
        positions = torch.cat([torch.arange(length) for length in lengths])
        return cls(ids, types, positions, lengths)

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)

    @cached_property
    def starts(self) -> Tensor:
        """[n] int64: the place of each sequence's first token."""
        return sent(self.first_places, self.input_ids.device)

    @property
    def first_places(self) -> Tensor:
        """As `starts`, on the CPU."""
        return self.layout.query_starts[:-1]

    @cached_property
    def layout(self) -> Layout:
        """The layout of self-attention over these sequences, drawn once for all layers."""
        return draw_layout(self.lengths, device=self.input_ids.device)

    def layout_with(self, num_spare: int) -> Layout:
        """As `layout`, with one more sequence behind the others, of rows that nobody wants."""
        return draw_layout((*self.lengths, num_spare), device=self.input_ids.device)

    def layout_at(self, places: Tensor, num_spare: int = 0) -> Layout:
        """As `layout`, where the tokens at these places, [M] and rising, are all that ask.

        num_spare: rows behind the last sequence, which nobody asks for.
        """
        ends = torch.tensor(list(accumulate(self.lengths)))
        counts = torch.searchsorted(places.cpu(), ends).diff(prepend=torch.zeros(1, dtype=torch.int64))
        spare = ((0,), (num_spare,)) if num_spare else ((), ())
        return draw_layout((*counts.tolist(), *spare[0]), (*self.lengths, *spare[1]), device=self.input_ids.device)

    @cached_property
    def causal_layout(self) -> Layout:
        """As `layout`, where a token sees itself and what stands before it."""
        return draw_layout(self.lengths, causal=True, device=self.input_ids.device)

    def split(self, values: Tensor) -> list[Tensor]:
        """Views of `values` [T, ...], one for each sequence."""
        return list(torch.split(values, list(self.lengths)))

    def to(self, device: torch.device | str) -> Packed:
        device = torch.device(device)
        if self.input_ids.device == device:
            return self
        return replace(
            self,
            input_ids=sent(self.input_ids, device),
            token_type_ids=sent(self.token_type_ids, device),
            position_ids=sent(self.position_ids, device),
            token_vectors=None if self.token_vectors is None else self.token_vectors.to(device),
        )
