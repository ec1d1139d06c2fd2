"""Bytes of tensors are counted once a storage, while it lives, and not before the work began."""

from __future__ import annotations

import torch

from bertsmith.runtime.tensor_bytes import TensorBytes

MEGABYTE = 2**20


def numbers(megabytes: int) -> torch.Tensor:
    return torch.zeros(megabytes * MEGABYTE // 4)


def test_the_peak_is_what_lived_at_once() -> None:
    with TensorBytes() as seen:
        first = numbers(4)
        del first
        second = numbers(2)
        third = second.view(2, -1)
    assert (seen.now, seen.peak) == (2 * MEGABYTE, 4 * MEGABYTE)
    del second, third
    assert seen.now == 0


def test_what_was_there_before_does_not_count() -> None:
    weight = numbers(3)
    with TensorBytes([weight]) as seen:
        weight.view(-1).mul_(2)
        changed = weight + 1
    assert seen.peak == changed.nbytes == 3 * MEGABYTE


def test_a_backward_pass_counts_what_was_kept_for_it_and_its_gradients() -> None:
    weight = torch.nn.Parameter(numbers(1).view(512, 512))
    values = torch.ones(1024, 512)
    with TensorBytes([weight, values]) as seen:
        (values @ weight).exp().sum().backward()
    # exp is computed beside the product, and keeps its own output: 2 and 2 MB; its gradient takes the product's place.
    assert 4 * MEGABYTE <= seen.peak < 4 * MEGABYTE + 1000
    assert weight.grad is not None
    assert seen.now == weight.grad.nbytes
