"""Windows and batches: one encoded row, and rows packed for one forward pass. Knows no task.

Shapes: T tokens, n sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.model.packed import Packed
from bertsmith.runtime.device import sent
from bertsmith.text.windows import TextWindow

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Window:
    """One row of a forward pass: a text, or the part of it that fits.

    input_ids, token_type_ids: [length]. targets: what the task's loss compares with, by name, empty for a request.
    num_cut_tokens: what truncation left out. continues: whether it is a further window of a text that was too long for
    one. position_ids: [length], where they do not count from 0.
    """

    input_ids: Sequence[int] | NDArray[Any]
    token_type_ids: Sequence[int] | NDArray[Any]
    targets: Mapping[str, Any] = field(default_factory=dict)
    num_cut_tokens: int = 0
    continues: bool = False
    position_ids: NDArray[Any] | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Truncation:
    """What did not fit into the model's length. num_examples: how many were looked at.

    num_cut_examples, num_cut_tokens: what was not read. num_windowed_examples: those read in several windows.
    """

    num_examples: int = 0
    num_cut_examples: int = 0
    num_cut_tokens: int = 0
    num_windowed_examples: int = 0

    @classmethod
    def of(cls, examples: Sequence[Sequence[Window]]) -> Self:
        """From the windows of each."""
        cut = [sum(window.num_cut_tokens for window in windows) for windows in examples]
        num_windowed = sum(any(window.continues for window in windows) for windows in examples)
        return cls(len(examples), sum(tokens > 0 for tokens in cut), sum(cut), num_windowed)

    def __add__(self, other: Truncation) -> Truncation:
        return Truncation(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        """One phrase, with how many examples were read in several windows so that nothing of them was cut."""
        further = f"; {self.num_windowed_examples:,} read in several windows" if self.num_windowed_examples else ""
        if not self.num_cut_tokens:
            return f"nothing{further}"
        return f"{self.num_cut_tokens:,} tokens of {self.num_cut_examples:,} of {self.num_examples:,} examples{further}"


@dataclass(frozen=True)
class Batch:
    """Windows packed for one forward pass.

    targets: by name, as the task's loss wants them. counts: for each named loss what its sum is divided by, a number of
    rows or their weight; they are added up over all micro-batches of a step before the first backward pass:
    accumulation equals the large batch.
    decoder: the target side, for tasks that have one.
    stays: the names of targets that are read on the CPU, and stay there.
    """

    packed: Packed
    targets: Mapping[str, Tensor]
    counts: Mapping[str, float]
    decoder: Packed | None = None
    stays: Set[str] = frozenset()

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            packed=self.packed.to(device),
            targets={
                name: tensor if name in self.stays else sent(tensor, device) for name, tensor in self.targets.items()
            },
            decoder=None if self.decoder is None else self.decoder.to(device),
        )


def pack(windows: Sequence[Window]) -> Packed:
    """The windows' ids, token types and positions, one after another."""
    packed = Packed.of([window.input_ids for window in windows], [window.token_type_ids for window in windows])
    if all(window.position_ids is None for window in windows):
        return packed
    positions = concatenate(
        np.arange(window.num_tokens) if window.position_ids is None else window.position_ids for window in windows
    )
    return replace(packed, position_ids=torch.from_numpy(positions))


def rows_of(cut: Sequence[TextWindow], targets: Mapping[str, Any]) -> list[Window]:
    """The windows that a text was cut into, as rows with the same targets."""
    return [
        Window(window.input_ids, window.token_type_ids, targets, window.num_cut_tokens, continues=place > 0)
        for place, window in enumerate(cut)
    ]


def micro_batches(rows: Iterable[Row], num_tokens: Callable[[Row], int], max_tokens: int) -> list[list[Row]]:
    """`rows` sorted by length, longest first, and cut where a part would exceed `max_tokens`; every row is in one part.

    A row longer than the budget stands alone. Sorting puts like lengths together, which is what attention wants.

    >>> micro_batches(["aaa", "b", "cc", "dddd"], len, 5)
    [['dddd'], ['aaa', 'cc'], ['b']]
    """
    parts: list[list[Row]] = []
    filled = 0
    for row in sorted(rows, key=num_tokens, reverse=True):
        size = num_tokens(row)
        if not parts or filled + size > max_tokens:
            parts.append([])
            filled = 0
        parts[-1].append(row)
        filled += size
    return parts


def concatenate(arrays: Iterable[NDArray[Any] | Sequence[int]]) -> NDArray[np.int64]:
    """One int64 array out of many, also out of none."""
    parts = [np.asarray(array, dtype=np.int64) for array in arrays]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def blocks(rows: Iterable[Row], size: int, size_of: Callable[[Row], int] = lambda row: 1) -> Iterator[list[Row]]:
    """`rows` in lists that end where their sizes reach `size`, the last one shorter; a row counts as one unless said.

    >>> list(blocks(["aaa", "b", "cc", "dddd"], 4, len))
    [['aaa', 'b'], ['cc', 'dddd']]
    """
    block: list[Row] = []
    filled = 0
    for row in rows:
        block.append(row)
        filled += size_of(row)
        if filled >= size:
            yield block
            block, filled = [], 0
    if block:
        yield block
