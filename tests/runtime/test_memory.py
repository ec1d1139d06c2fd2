"""Freed memory is kept, or all stays as it is; what is left is what the tightest limit leaves."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from types import SimpleNamespace

import pytest

from bertsmith.runtime.memory import (
    MMAP_THRESHOLD,
    free_bytes,
    keep_freed_memory,
    peak_resident_bytes,
    resident_bytes,
)


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


def test_what_this_process_holds_grows_with_it() -> None:
    before = resident_bytes()
    block = mmap.mmap(-1, 50_000_000)  # pages of its own, none that were freed and kept
    block.write(b"x" * len(block))
    assert resident_bytes() - before > 40_000_000
    assert peak_resident_bytes() > len(block)
    block.close()


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"}
SECOND = {
    "proc/self/cgroup": "0::/jobs/mine\n",
    "sys/fs/cgroup/jobs/mine/memory.max": "max\n",
    "sys/fs/cgroup/jobs/memory.max": "5000000\n",
    "sys/fs/cgroup/jobs/memory.current": "3000000\n",
    "sys/fs/cgroup/jobs/memory.stat": "active_file 7\ninactive_file 1000000\n",
}
FIRST = {
    "proc/self/cgroup": "3:cpu,cpuacct:/other\n2:memory:/mine\n",
    "sys/fs/cgroup/memory/mine/memory.limit_in_bytes": "4000000\n",
    "sys/fs/cgroup/memory/mine/memory.usage_in_bytes": "3500000\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        (MACHINE, 8_192_000),
        (MACHINE | SECOND, 3_000_000),
        (MACHINE | FIRST, 500_000),
        (MACHINE | {"proc/self/cgroup": "0::/\n"}, 8_192_000),
    ],
)
def test_what_is_left_is_what_the_tightest_limit_leaves(
    files: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    assert free_bytes(system(tmp_path, files)) == expected
