"""Tensors copied, and files written straight from where they lie and hashed on the way. Knows no checkpoint.

Memory that was not used before costs several times what copying into it does, page by page: a checkpoint's copies and,
where a file is written over, the pages that the system keeps of it serve again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = Mapping[str, Tensor]

CHUNK_BYTES = 1 << 20
"""What is hashed and then written while the processor's cache still has it."""


class Copies:
    """Of a group of named tensors, in memory on the CPU that later copies of the same group use again."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def take(self, tensors: Tensors) -> Tensors:
        """The values of now; they hold until the next call."""
        self._held = {
            name: _room_for(tensor, self._held.get(name)).copy_(tensor.detach(), non_blocking=True)
            for name, tensor in tensors.items()
        }
        for device in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        return self._held


def _room_for(tensor: Tensor, held: Tensor | None) -> Tensor:
    if held is not None and held.shape == tensor.shape and held.dtype == tensor.dtype:
        return held
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)


def write_synced(path: Path, parts: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Write a file and sync it to the disk; its `bytes` and `sha256`. A file that is there is written over in place.

    The hash is of what was meant, not of what may have reached the disk.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("r+b" if path.exists() else "xb", buffering=0) as file:
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), CHUNK_BYTES):
                chunk = view[start : start + CHUNK_BYTES]
                digest.update(chunk)
                while chunk:  # a write may take less than it is given
                    written = file.write(chunk)
                    chunk, size = chunk[written:], size + written
        file.truncate()
        os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}
