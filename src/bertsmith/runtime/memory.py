"""How this process keeps its memory, what it holds, and what the machine has left. Knows the system alone."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of mallopt(3), from malloc.h."""
NEVER_BYTES = 2**31 - 1
KEPT_PRODUCTS = 64
"""About twice the shapes that the passes of one micro-batch have."""


@lru_cache
def keep_freed_memory() -> bool:
    """Asks glibc to keep what is freed for the next step, rather than return it and fault it in anew; whether it does.

    A training step frees and takes the same blocks again and again, the largest as large as the embedding table: 11,000
    page faults a step of MiniLM's, a fifth of the time of a step of short texts (docs/log.md). Blocks of all sizes come
    from one arena, since each further one has a limit of 64 MB. Elsewhere than on glibc nothing happens.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # A threshold that an older glibc refuses would leave every large block to mmap: then all stays as it is.
    if not mallopt(MMAP_THRESHOLD, NEVER_BYTES):
        return False
    return bool(mallopt(ARENA_MAX, 1) and mallopt(TRIM_THRESHOLD, NEVER_BYTES))


def keep_few_products() -> None:
    """Asks oneDNN, and PyTorch's layer over it, to keep few of the products that they have compiled for a shape.

    Packed batches have a new shape in every step: the 1,024 that each keeps by default are met once, and take half a
    gigabyte (docs/log.md). Within a step all layers have the same shapes, so that a few are enough. What the
    environment says already holds; after the first product nothing is read any more.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(KEPT_PRODUCTS))


def resident_bytes() -> int:
    """What this process holds in memory now; where the system does not tell, at most so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_resident_bytes()
    return pages * resource.getpagesize()


def peak_resident_bytes() -> int:
    """The most that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes(root: Path = Path("/")) -> int | None:
    """What this process may still take without swapping; None where the system does not tell.

    The smaller of what the machine has available and what the process's control group leaves it, in either of Linux's
    two layouts; files in the group's cache count as free.
    """
    found = [value for value in (_machine_free(root / "proc/meminfo"), *_group_free(root)) if value is not None]
    return max(0, min(found)) if found else None


def _machine_free(meminfo: Path) -> int | None:
    return _field(meminfo, "MemAvailable:", unit=1024)


def _group_free(root: Path) -> Iterator[int | None]:
    """Of every group from the process's own up to the root."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        for layout in LAYOUTS:
            if layout.controllers in controllers.split(","):
                base = root / "sys/fs/cgroup" / layout.folder
                group = base / path.lstrip("/")
                yield from (layout.left_in(folder) for folder in (group, *group.parents) if folder.is_relative_to(base))


@dataclass(frozen=True)
class _Layout:
    """Where one version of control groups keeps a group's limit, its use, and how much of that is cached files."""

    controllers: str
    folder: str
    limit: str
    usage: str
    cached: str

    def left_in(self, group: Path) -> int | None:
        try:
            limit, usage = (int((group / name).read_text()) for name in (self.limit, self.usage))
        except (OSError, ValueError):  # no such file, or "max": no limit
            return None
        return limit - usage + (_field(group / "memory.stat", self.cached) or 0)


LAYOUTS = (
    _Layout("", "", "memory.max", "memory.current", "inactive_file"),
    _Layout("memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _field(path: Path, name: str, unit: int = 1) -> int | None:
    """The number after `name` in a file of names and numbers."""
    try:
        for line in path.read_text().splitlines():
            words = line.split()
            if words and words[0] == name:
                return int(words[1]) * unit
    except (OSError, ValueError, IndexError):
        return None
    return None
