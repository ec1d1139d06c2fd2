"""Packed attention on a GPU against the CPU: in fp32 the same, in bf16 by FlashAttention near it, and repeatable."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from on_gpu import DEVICE, needs_gpu, needs_its_kernels
from torch import Tensor

from bertsmith.kernels.attention import draw_layout, fits_flash, packed_attention
from bertsmith.runtime.device import repeatable

CPU = torch.device("cpu")
HEADS = 3
SELF = [[5, 1, 77, 130, 31], [5, 1, 77, 130, 31]]
CROSS = [[1, 4, 1, 9], [40, 4, 513, 12]]
"""Queries and keys of each sequence; causal, a query sees keys up to its place counted from the end."""
CASES = [pytest.param(*SELF, False, id="self"), pytest.param(*SELF, True, id="causal"), pytest.param(*CROSS, False)]
cases = pytest.mark.parametrize(("queries", "keys", "causal"), CASES)


@dataclass
class Computed:
    out: Tensor
    gradients: tuple[Tensor, ...]

    def near(self, other: Computed) -> float:
        """The largest relative distance of any of the tensors."""
        pairs = zip((self.out, *self.gradients), (other.out, *other.gradients), strict=True)
        return max(float((a.cpu().float() - b.cpu().float()).norm() / b.cpu().float().norm()) for a, b in pairs)


def compute(
    queries: list[int], keys: list[int], causal: bool, width: int, device: torch.device, dtype: torch.dtype
) -> Computed:
    generator = torch.Generator().manual_seed(0)
    counts = (sum(queries), sum(keys), sum(keys))
    drawn = [torch.randn(count, HEADS, width, generator=generator) for count in counts]
    heads = [each.to(device, dtype).requires_grad_() for each in drawn]
    weights = torch.randn(sum(queries), HEADS, width, generator=generator).to(device, dtype)
    layout = draw_layout(queries, keys, causal=causal, device=device)
    out = packed_attention(*heads, layout)
    return Computed(out.detach(), torch.autograd.grad((out * weights).sum(), heads))


@needs_gpu
@cases
def test_fp32_is_that_of_the_cpu(queries: list[int], keys: list[int], causal: bool) -> None:
    here, there = (compute(queries, keys, causal, 32, device, torch.float32) for device in (CPU, DEVICE))
    assert there.near(here) < 1e-5


@needs_its_kernels
@cases
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_flash_attention_is_near_fp32(
    queries: list[int], keys: list[int], causal: bool, width: int, dtype: torch.dtype
) -> None:
    heads = torch.empty(4, HEADS, width, dtype=dtype, device=DEVICE)
    assert fits_flash(heads, heads, heads)
    exact = compute(queries, keys, causal, width, CPU, torch.float32)
    assert compute(queries, keys, causal, width, DEVICE, dtype).near(exact) < 1e-2


@needs_its_kernels
def test_flash_attention_reads_views_of_one_product() -> None:
    lengths = [7, 130, 2]
    projected = torch.randn(sum(lengths), 3, HEADS, 32, device=DEVICE, dtype=torch.bfloat16)
    layout = draw_layout(lengths, device=DEVICE)
    apart = packed_attention(*(part.contiguous() for part in projected.unbind(1)), layout)
    assert torch.equal(packed_attention(*projected.unbind(1), layout), apart)


@needs_its_kernels
def test_flash_attentions_dropout_is_unbiased_and_follows_the_seed() -> None:
    query, key = (torch.randn(64, HEADS, 32, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    value, layout = torch.ones_like(query), draw_layout([64], device=DEVICE)
    torch.manual_seed(0)
    drawn = [packed_attention(query, key, value, layout, dropout=0.5) for _ in range(200)]
    assert torch.stack(drawn).float().mean().item() == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(drawn[0], drawn[1])
    torch.manual_seed(0)
    assert torch.equal(packed_attention(query, key, value, layout, dropout=0.5), drawn[0])


@needs_its_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_the_same_bits_every_time(dtype: torch.dtype) -> None:
    lengths = [512, 300, 9] * 8
    with repeatable(DEVICE):
        first, *others = (compute(lengths, lengths, False, 64, DEVICE, dtype) for _ in range(4))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first.gradients, other.gradients, strict=True))
