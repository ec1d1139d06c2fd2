"""Packed attention against one sequence at a time, written out; gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bertsmith.kernels.attention import (
    MAX_PADDED_FRACTION,
    attention_probabilities,
    draw_layout,
    fits_flash,
    flash_attention,
    packed_attention,
)

HEADS, WIDTH = 2, 4


def one_by_one(query: Tensor, key: Tensor, value: Tensor, queries: list[int], keys: list[int], causal: bool) -> Tensor:
    """softmax(q k' / sqrt(d)) v for each sequence and head, in loops."""
    outputs, q_at, k_at = [], 0, 0
    for q_len, k_len in zip(queries, keys, strict=True):
        rows = torch.empty(q_len, HEADS, WIDTH)
        for head in range(HEADS):
            q = query[q_at : q_at + q_len, head]
            k, v = key[k_at : k_at + k_len, head], value[k_at : k_at + k_len, head]
            scores = q @ k.T / WIDTH**0.5
            if causal:
                hidden = torch.ones(q_len, k_len).tril(k_len - q_len) == 0
                scores = scores.masked_fill(hidden, float("-inf"))
            rows[:, head] = scores.softmax(-1) @ v
        outputs.append(rows)
        q_at, k_at = q_at + q_len, k_at + k_len
    return torch.cat(outputs)


def tensors(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randn(length, HEADS, WIDTH, generator=generator, requires_grad=True) for length in lengths]


@given(st.lists(st.integers(1, 24), min_size=1, max_size=12), st.booleans())
def test_self_attention_and_its_gradients_equal_one_sequence_at_a_time(lengths: list[int], causal: bool) -> None:
    query, key, value = tensors(*[sum(lengths)] * 3)
    ours = packed_attention(query, key, value, draw_layout(lengths, causal=causal))
    theirs = one_by_one(query, key, value, lengths, lengths, causal)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * weights).sum(), (query, key, value)),
        torch.autograd.grad((theirs * weights).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-4)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 20)), min_size=1, max_size=10))
def test_cross_attention_equals_one_sequence_at_a_time(pairs: list[tuple[int, int]]) -> None:
    queries, keys = [q for q, _ in pairs], [k for _, k in pairs]
    query, key, value = tensors(sum(queries), sum(keys), sum(keys))
    ours = packed_attention(query, key, value, draw_layout(queries, keys))
    torch.testing.assert_close(ours, one_by_one(query, key, value, queries, keys, False), atol=1e-5, rtol=1e-5)


def test_one_new_token_sees_all_cached_keys() -> None:
    #        keys  0 1 2      keys  0 1
    # query 2:     x x x   query 1: x x
    queries, keys = [1, 1], [3, 2]
    query, key, value = tensors(2, 5, 5)
    ours = packed_attention(query, key, value, draw_layout(queries, keys, causal=True))
    torch.testing.assert_close(ours, one_by_one(query, key, value, queries, keys, True), atol=1e-6, rtol=1e-5)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_every_sequence_is_in_one_group_and_padding_stays_within_its_limit(lengths: list[int]) -> None:
    layout = draw_layout(lengths)
    assert sorted(place for group in layout.groups for place in group.members) == list(range(len(lengths)))
    for group in layout.groups:
        real = sum(lengths[place] ** 2 for place in group.members)
        executed = group.queries.index.numel() * group.keys.index.shape[1]
        assert executed - real <= MAX_PADDED_FRACTION * executed + 1e-9
    assert layout.padded_tokens == sum(group.queries.index.numel() for group in layout.groups) - sum(lengths)


def test_equal_lengths_are_viewed_not_copied() -> None:
    layout = draw_layout([4, 4, 4])
    assert [group.queries.first for group in layout.groups] == [0]
    assert layout.order is None
    assert layout.padded_tokens == 0


def test_probabilities_are_one_matrix_a_sequence_in_batch_order() -> None:
    lengths = [2, 9, 3]
    query, key, value = tensors(14, 14, 14)
    layout = draw_layout(lengths)
    weights = attention_probabilities(query, key, layout)
    assert [tuple(matrix.shape) for matrix in weights] == [(HEADS, n, n) for n in lengths]
    packed = packed_attention(query, key, value, layout)
    by_hand = torch.einsum("nqk,knd->qnd", weights[1], value[2:11])
    torch.testing.assert_close(packed[2:11], by_hand, atol=1e-5, rtol=1e-5)


def test_dropout_drops_and_is_unbiased() -> None:
    query, key, _ = tensors(64, 64, 64)
    value = torch.ones(64, HEADS, WIDTH)
    layout = draw_layout([64])
    torch.manual_seed(0)
    mean = torch.stack([packed_attention(query, key, value, layout, dropout=0.5) for _ in range(200)]).mean()
    assert mean.item() == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(packed_attention(query, key, value, layout, dropout=0.5), value)


@pytest.mark.parametrize("causal", [False, True])
def test_flash_attentions_shapes_forward_and_backward(causal: bool) -> None:
    # Without a GPU its results cannot be had; the meta device checks what is handed over and what comes back.
    query, key, value = (
        torch.empty(count, 2, 64, dtype=torch.bfloat16, device="meta", requires_grad=True) for count in (6, 9, 9)
    )
    layout = draw_layout([2, 4], [4, 5], causal=causal, device=torch.device("meta"))
    out = flash_attention(query, key, value, layout, 0.1)
    assert out.shape == query.shape
    out.backward(torch.empty_like(out))
    assert key.grad is not None
    assert key.grad.shape == key.shape


def test_flash_attention_reads_starts_as_int32() -> None:
    starts = draw_layout([2, 4], [4, 5], device=torch.device("cpu")).offsets
    assert [each.tolist() for each in starts] == [[0, 2, 6], [0, 4, 9]]
    assert {each.dtype for each in starts} == {torch.int32}


@pytest.mark.parametrize(
    ("dtype", "width", "capability", "flash"),
    [
        (torch.bfloat16, 64, (9, 0), True),
        (torch.float16, 64, (8, 0), True),
        (torch.float32, 64, (9, 0), False),
        (torch.bfloat16, 20, (9, 0), False),
        (torch.bfloat16, 64, (7, 5), False),
    ],
)
def test_half_precision_on_a_gpu_goes_to_flash_attention(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, width: int, capability: tuple[int, int], flash: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    with FakeTensorMode():
        heads = torch.empty(6, 2, width, dtype=dtype, device="cuda")
        assert fits_flash(heads, heads, heads) == flash


def test_on_a_cpu_there_is_no_flash_attention() -> None:
    heads = torch.empty(6, 2, 64, dtype=torch.bfloat16)
    assert not fits_flash(heads, heads, heads)
