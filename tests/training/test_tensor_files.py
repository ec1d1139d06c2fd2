"""Files of tensors: their hash, what is written over, and copies that use their memory again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from bertsmith.training.tensor_files import CHUNK_BYTES, Copies, write_synced


@pytest.mark.parametrize("before", [0, 10, 3 * CHUNK_BYTES])
def test_a_file_that_is_there_becomes_the_new_one_whatever_its_size(tmp_path: Path, before: int) -> None:
    (tmp_path / "file").write_bytes(b"x" * before)
    content = bytes(range(256)) * (CHUNK_BYTES // 128) + b"end"
    facts = write_synced(tmp_path / "file", [content[:100], content[100:]])
    assert (tmp_path / "file").read_bytes() == content
    assert facts == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_copies_use_their_memory_again_and_follow_a_changed_shape() -> None:
    copies = Copies()
    first = copies.take({"a": torch.zeros(4), "b": torch.ones(2, 2).T})
    place = first["a"].data_ptr()
    second = copies.take({"a": torch.ones(4), "b": torch.zeros(3)})
    assert second["a"].data_ptr() == place
    assert second["a"].tolist() == [1, 1, 1, 1]
    assert second["b"].tolist() == [0, 0, 0]
