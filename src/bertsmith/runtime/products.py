"""How fast this machine multiplies matrices: the limit that a rate of training is a share of. Knows no model."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

from bertsmith.runtime.device import Precision, pick_device, pick_precision

TOKENS, WIDTH, INNER = 4096, 384, 1536
"""Rows and the two sides of a layer's product: large enough for a CPU's limit, small enough to be measured at once."""
GPU_SIDE = 8192
"""All three on a GPU, where a layer's product is over before the next one is asked for."""


@lru_cache
def gemm_rate(precision: Precision = "auto", device: str = "auto", rounds: int = 5) -> float:
    """Operations a second of a large matrix product, the best of some `rounds`; measured once a process."""
    place = pick_device(device)
    dtype = torch.bfloat16 if pick_precision(precision, place) == "bf16" else torch.float32
    tokens, width, inner = (TOKENS, WIDTH, INNER) if place.type == "cpu" else (GPU_SIDE,) * 3
    # Random, since of ones a GPU multiplies more a second, and drawn apart from the run's own numbers.
    numbers = torch.Generator(place).manual_seed(0)
    left, right = (torch.rand(rows, width, generator=numbers, device=place).to(dtype) for rows in (tokens, inner))
    return 2 * tokens * width * inner / min(_seconds(left, right) for _ in range(rounds + 1))


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.nn.functional.linear(left, right)
    if left.device.type == "cuda":
        torch.cuda.synchronize(left.device)
    return time.perf_counter() - started
