"""What products read: nothing past the last row, which here lies before a page that cannot be read.

In a process of its own, since a fault ends it. Sanitizers do not see what AMX reads.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from bertsmith.kernels.library import engine

CHILD = """
import ctypes, mmap, sys
import torch
from bertsmith.kernels.library import compiled
from bertsmith.kernels.packed_weights import PackedLinear

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE

def before_the_end(values):
    size = values.numel() * values.element_size()
    pages = -(-size // PAGE)
    memory = mmap.mmap(-1, (pages + 1) * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert LIBC.mprotect(ctypes.c_void_p(address + pages * PAGE), PAGE, 0) == 0
    start = address + pages * PAGE - size
    ctypes.memmove(start, values.data_ptr(), size)
    kept.append(memory)
    return start

kept = []
compiled().bertsmith_use_tiles(int(sys.argv[1]))
for number in ("bf16", "int8"):
    for width in (64, 320):
        linear = PackedLinear(torch.randn(70, width), None, number)
        for num_rows in (1, 8, 16, 17, 33, 40):
            rows = torch.randn(num_rows, width).bfloat16()
            out = torch.empty(num_rows, 70, dtype=torch.bfloat16)
            compiled().bertsmith_linear(linear.matrix.address, before_the_end(rows), out.data_ptr(), num_rows)
            assert torch.equal(out, linear(rows)), (number, width, num_rows)
for lengths in ((1,), (5, 17), (40, 3, 33)):
    heads = torch.randn(sum(lengths), 1, 32).bfloat16()
    starts = torch.tensor([0, *lengths]).cumsum(0)
    out = torch.empty_like(heads)
    at = before_the_end(heads)
    compiled().bertsmith_attention_only(
        at, 32, at, 32, at, 32, out.data_ptr(), 0, None, starts.data_ptr(), starts.data_ptr(), len(lengths), 1, 32
    )
    assert out.isfinite().all()
print("read no further")
"""


@pytest.mark.skipif(engine().library is None, reason=f"no compiled kernels here: {engine().reason}")
@pytest.mark.parametrize("tiles", [False, True] if engine().tiles else [False])
def test_nothing_is_read_past_the_last_row(tiles: bool) -> None:
    command = [sys.executable, "-c", CHILD, str(int(tiles))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "read no further\n", done.stderr
