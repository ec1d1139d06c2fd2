"""Freed memory is kept, or all stays as it is."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from bertsmith.runtime.memory import MMAP_THRESHOLD, keep_freed_memory


@pytest.mark.parametrize("refuses", [False, True])
def test_nothing_is_set_where_the_largest_blocks_would_stay_apart(
    refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older glibc refuses the threshold of mmap; setting the others alone would make every large block a fault."""
    asked = []

    def mallopt(name: int, value: int) -> int:
        asked.append(name)
        return 0 if refuses and name == MMAP_THRESHOLD else 1

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory.__wrapped__() is not refuses
    assert len(asked) == (1 if refuses else 3)
