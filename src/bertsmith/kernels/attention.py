"""Attention over packed sequences: one layout a batch, one function that every layer calls. No model.

Shapes: T query tokens and S key tokens in all, N heads, D their width; per group G sequences, Q and K their lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.kernels import native_ops

MAX_PADDED_FRACTION = 0.125
"""How much of a group's scores may be padding: below it one call beats several. Linear layers see none of it."""
FLASH_CAPABILITY = (8, 0)
"""The first GPUs that PyTorch's FlashAttention runs on, Ampere."""
FLASH_MAX_WIDTH = 256


@dataclass(frozen=True)
class Rows:
    """The tokens of G sequences of nearly one length, as a rectangle.

    index [G, L]: places past a sequence's end repeat its first token. valid [G, L] bool, None where all are real.
    first: where the rectangle is one run of tokens, its start, so that it can be viewed instead of copied.
    """

    index: Tensor
    valid: Tensor | None
    first: int | None

    @classmethod
    def draw(cls, starts: Sequence[int], lengths: Sequence[int], device: torch.device | None) -> Rows:
        columns = torch.arange(max(lengths))
        valid = columns < torch.tensor(lengths)[:, None]
        index = torch.tensor(starts)[:, None] + torch.where(valid, columns, 0)
        full = min(lengths) == max(lengths)
        together = full and list(starts) == [starts[0] + i * lengths[0] for i in range(len(starts))]
        return cls(index.to(device), None if full else valid.to(device), starts[0] if together else None)

    def take(self, packed: Tensor) -> Tensor:
        """[T, N, D] -> [G, N, L, D]."""
        count = self.index.numel()
        rows = packed[self.index.flatten()] if self.first is None else packed[self.first : self.first + count]
        return rows.view(*self.index.shape, *packed.shape[1:]).transpose(1, 2)

    def put(self, grouped: Tensor) -> Tensor:
        """[G, N, L, D] -> [real tokens, N, D], row by row."""
        rows = grouped.transpose(1, 2)
        return rows.flatten(0, 1) if self.valid is None else rows[self.valid]


@dataclass(frozen=True)
class Group:
    """Sequences of nearly one length, attended in one call.

    mask: [G, 1, Q or 1, K] bool, True where attention is allowed; None where everything is.
    members: the sequences' places in the batch.
    """

    queries: Rows
    keys: Rows
    mask: Tensor | None
    members: tuple[int, ...]


@dataclass(frozen=True)
class Places:
    """Where a layout's tokens are, if not one after another: sets of queries, each with the keys that all of it sees.

    queries: [T], every query token once; None: one after another. keys: [S], of key tokens any, any number of times.
    What is seen in any pattern is exact by this, in any back end, as long as tokens that see the same are few sets.
    """

    queries: Tensor | None
    keys: Tensor

    def asked(self, query: Tensor) -> Tensor:
        """[T, ...], set by set."""
        return query if self.queries is None else query[self.queries]

    def put_back(self, out: Tensor) -> Tensor:
        """[T, ...] of the sets, in the order of the query tokens."""
        return out if self._back is None else out[self._back]

    @cached_property
    def _back(self) -> Tensor | None:
        """[T]: the place in the sets of each query token; None: its own."""
        if self.queries is None:
            return None
        back = torch.empty_like(self.queries)
        back[self.queries] = torch.arange(len(self.queries), device=self.queries.device)
        return back


@dataclass(frozen=True)
class Layout:
    """Which query token sees which key tokens: those of its own sequence and no others.

    causal: a query sees the keys up to its own place, counted from the end, so that one new query after K - 1 cached
    keys sees all K. places: where the tokens of each sequence are; None: one after another.
    """

    query_lengths: tuple[int, ...]
    key_lengths: tuple[int, ...]
    causal: bool = False
    device: torch.device | None = None
    places: Places | None = None

    def at(self, places: Places) -> Layout:
        """The same lengths, of tokens that are at these places."""
        return replace(self, places=places)

    @cached_property
    def query_starts(self) -> Tensor:
        """[n + 1] int64, on the CPU: where each sequence's queries begin and the last one's end."""
        return _starts(self.query_lengths)

    @cached_property
    def key_starts(self) -> Tensor:
        return self.query_starts if self.key_lengths == self.query_lengths else _starts(self.key_lengths)

    @cached_property
    def offsets(self) -> tuple[Tensor, Tensor]:
        """The starts of queries and keys once more, int32 and on the device, as FlashAttention reads them."""
        queries = self._on_device(self.query_starts)
        return queries, queries if self.key_starts is self.query_starts else self._on_device(self.key_starts)

    def _on_device(self, starts: Tensor) -> Tensor:
        starts = starts.int()
        if self.device is None or self.device.type != "cuda":
            return starts.to(self.device)
        # Pinned: from other memory a copy would first wait for all that the GPU has been given to do.
        return starts.pin_memory().to(self.device, non_blocking=True)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The rectangles in which plain PyTorch attends; drawn when it first does."""
        device = self.device
        query_starts, key_starts = self.query_starts.tolist(), self.key_starts.tolist()
        groups = []
        for members in _of_nearly_one_length(self.query_lengths, self.key_lengths):
            q = Rows.draw([query_starts[i] for i in members], [self.query_lengths[i] for i in members], device)
            k = Rows.draw([key_starts[i] for i in members], [self.key_lengths[i] for i in members], device)
            mask = None if k.valid is None else k.valid[:, None, None, :]
            if self.causal and q.index.shape[1] > 1:
                past = torch.tensor([self.key_lengths[i] - self.query_lengths[i] for i in members], device=device)
                rows, columns = (torch.arange(rows.index.shape[1], device=device) for rows in (q, k))
                allowed = columns <= rows[:, None] + past[:, None, None, None]
                mask = allowed if mask is None else allowed & mask
            groups.append(Group(q, k, mask, tuple(members)))
        return tuple(groups)

    @cached_property
    def order(self) -> Tensor | None:
        """[T] place of each query token in the groups' outputs, one after another; None where it is the same place."""
        by_group = [place for group in self.groups for place in group.members]
        if by_group == sorted(by_group):
            return None
        starts = self.query_starts.tolist()
        order = torch.empty(starts[-1], dtype=torch.int64)
        at = 0
        for place in by_group:
            order[starts[place] : starts[place + 1]] = torch.arange(at, at + self.query_lengths[place])
            at += self.query_lengths[place]
        return order.to(self.device)

    @property
    def padded_tokens(self) -> int:
        """How many query places the groups execute beyond the real ones."""
        return sum(group.queries.index.numel() for group in self.groups) - sum(self.query_lengths)


def draw_layout(
    query_lengths: Sequence[int],
    key_lengths: Sequence[int] | None = None,
    *,
    causal: bool = False,
    device: torch.device | None = None,
) -> Layout:
    """The layout for sequences of these lengths; `key_lengths` defaults to the queries' (self-attention)."""
    queries = tuple(query_lengths)
    return Layout(queries, queries if key_lengths is None else tuple(key_lengths), causal, device)


def packed_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, *, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention within each sequence (Vaswani et al. 2017, section 3.2.1).

    query [T, N, D], key [S, N, D], value [S, N, D] -> [T, N, D]; `dropout` is the probability in force now. The back
    end is chosen here: the compiled kernel for bf16 on a CPU that can run it, FlashAttention for half precision on a
    GPU, else plain PyTorch.
    """
    places = layout.places
    if places is None:
        return _attended(query, key, value, layout, dropout)
    asked = places.asked(query)
    are_few = max(layout.query_lengths) <= native_ops.FEW_QUERIES
    if are_few and _is_forward_alone(dropout) and _fits_kernel(asked, key, value, layout):
        # The kernel reads the keys where they are.
        out: Tensor = native_ops.attention_only(asked, key, value, layout.query_starts, layout.key_starts, places.keys)
    else:
        out = _attended(asked, key[places.keys], value[places.keys], layout, dropout)
    return places.put_back(out)


def _attended(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """The same of tokens that lie one after another."""
    if _fits_kernel(query, key, value, layout):
        starts = layout.query_starts, layout.key_starts
        if _is_forward_alone(dropout):
            only: Tensor = native_ops.attention_only(query, key, value, *starts, None)
            return only
        seed, num_kept = native_ops.draw_seed(dropout), native_ops.num_kept_of(dropout)
        out: Tensor = native_ops.attention(query, key, value, *starts, seed, num_kept)[0]
        return out
    if fits_flash(query, key, value):
        return _repeatable(flash_attention(query, key, value, layout, dropout))
    outputs = [
        group.queries.put(
            _repeatable(
                F.scaled_dot_product_attention(
                    group.queries.take(query),
                    group.keys.take(key),
                    group.keys.take(value),
                    attn_mask=group.mask,
                    dropout_p=dropout,
                )
            )
        )
        for group in layout.groups
    ]
    packed = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return packed if layout.order is None else packed[layout.order]


def attention_probabilities(query: Tensor, key: Tensor, layout: Layout) -> list[Tensor]:
    """What `packed_attention` weighs the values with, before dropout: one [N, Q, K] a sequence, in batch order.

    Of a layout with places a sequence is one of its sets.
    """
    if layout.places is not None:
        query, key = layout.places.asked(query), key[layout.places.keys]
    by_place: dict[int, Tensor] = {}
    for group in layout.groups:
        q, k = group.queries.take(query), group.keys.take(key)
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if group.mask is not None:
            scores = scores.masked_fill(~group.mask, float("-inf"))
        weights = scores.softmax(-1)
        for row, place in enumerate(group.members):
            by_place[place] = weights[row, :, : layout.query_lengths[place], : layout.key_lengths[place]]
    return [by_place[place] for place in sorted(by_place)]


def _fits_kernel(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> bool:
    width = query.shape[-1]
    return (
        query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and width % 32 == 0
        and not layout.causal
        and all(each.dtype == query.dtype and _lies_well(each) for each in (query, key, value))
        and native_ops.is_available()
    )


def _is_forward_alone(dropout: float) -> bool:
    """Whether nothing but the output is wanted."""
    return not dropout and not torch.is_grad_enabled()


def flash_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """One call for sequences of all lengths (Dao et al. 2022): shapes and results of `packed_attention`.

    PyTorch carries the kernel, with dropout and gradients, under this name; nothing is padded. Its causal mask counts
    from the end of a sequence, as `Layout` does.
    """
    starts = layout.offsets
    longest = max(layout.query_lengths), max(layout.key_lengths)
    out: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, *starts, *longest, dropout, layout.causal, False
    )[0]
    return out


def fits_flash(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these heads, and the GPU that they are on, are such as FlashAttention takes."""
    return (
        query.device.type == "cuda"
        and query.dtype in (torch.bfloat16, torch.float16)
        and all(each.dtype == query.dtype for each in (key, value))
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= FLASH_MAX_WIDTH
        and all(each.stride(-1) == 1 for each in (query, key, value))
        and torch.backends.cuda.is_flash_attention_available()
        and torch.cuda.get_device_capability(query.device) >= FLASH_CAPABILITY
    )


def _repeatable(out: Tensor) -> Tensor:
    """`out` of attention, whose gradients are the same bits every time where PyTorch was asked for that on a GPU.

    Of an operation that has both ways, its kernels of attention alone take the other one while PyTorch is to warn
    where there is none, as `runtime.device.repeatable` has it. So it is to refuse, for the length of this operation.
    """
    node = out.grad_fn
    if node is not None and out.is_cuda and torch.is_deterministic_algorithms_warn_only_enabled():
        node.register_prehook(lambda _: torch.use_deterministic_algorithms(True))
        node.register_hook(lambda *_: torch.use_deterministic_algorithms(True, warn_only=True))
    return out


def _lies_well(heads: Tensor) -> bool:
    """Heads side by side, and tokens a whole number of pairs apart, in which the kernel reads them."""
    return heads.stride()[1:] == (heads.shape[-1], 1) and heads.stride(0) % 2 == 0


def _starts(lengths: Sequence[int]) -> Tensor:
    return torch.tensor(list(accumulate(lengths, initial=0)))


def _of_nearly_one_length(queries: Sequence[int], keys: Sequence[int]) -> list[list[int]]:
    """Places of the sequences, in groups whose scores hold at most MAX_PADDED_FRACTION padding."""
    groups: list[list[int]] = []
    real = widest = 0
    for place in sorted(range(len(queries)), key=lambda i: (-keys[i], -queries[i], i)):
        area = queries[place] * keys[place]
        if groups:
            group = groups[-1]
            executed = (len(group) + 1) * max(widest, queries[place]) * keys[group[0]]
            if executed - real - area <= MAX_PADDED_FRACTION * executed:
                group.append(place)
                real, widest = real + area, max(widest, queries[place])
                continue
        groups.append([place])
        real, widest = area, queries[place]
    return [sorted(group) for group in groups]
