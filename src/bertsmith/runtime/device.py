"""Which device computes, and in which precision. Knows no model.

bf16 is used where the machine multiplies it in hardware (AMX or AVX-512 BF16 on CPUs, any recent GPU); elsewhere it
would be emulated, slower than fp32.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, overload

import torch
from torch import Tensor

from bertsmith.errors import SettingsError

Precision = Literal["auto", "fp32", "bf16"]
PredictionPrecision = Literal["auto", "fp32", "bf16", "int8"]
"""int8: the encoder layers' products in 8 bits, decoders and heads in bf16; on a CPU with the compiled kernels."""


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the first GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise SettingsError(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"device {name!r}: this machine and this build of torch offer {torch.cuda.device_count()}")
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies bf16 matrices in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


@overload
def pick_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]: ...
@overload
def pick_precision(precision: PredictionPrecision, device: torch.device) -> Literal["fp32", "bf16", "int8"]: ...
def pick_precision(precision: PredictionPrecision, device: torch.device) -> Literal["fp32", "bf16", "int8"]:
    """What `auto` means on `device`; the others mean themselves. Raises `SettingsError` for int8 on a GPU."""
    if precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    if precision == "int8" and device.type != "cpu":
        raise SettingsError("precision int8 is for CPUs; on a GPU take bf16")
    return precision


def autocast(precision: PredictionPrecision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products run in `precision`; weights and sums stay in fp32."""
    if pick_precision(precision, device) != "fp32":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; from the CPU to a GPU through pinned memory, so that neither waits for the other.

    From memory that the system may move, a copy first waits for all that the GPU has been given to do.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within it the same work on one kind of GPU gives the same bits: a run then goes on to what it would have been.

    FlashAttention's backward pass and sums into rows otherwise add in whatever order threads finish. PyTorch warns of
    an operation that it has no such way of computing. On a CPU nothing changes.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
    memory: Any = torch.utils.deterministic
    mode, fills = torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # nobody reads what was not written, and all would be written twice
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        memory.fill_uninitialized_memory = fills
