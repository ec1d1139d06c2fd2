"""How this process keeps its memory. Knows the C library only."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of mallopt(3), from malloc.h."""
NEVER_BYTES = 2**31 - 1


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
