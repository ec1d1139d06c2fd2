"""Files of tensors: what safetensors reads from them, their hash, and what is written over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from bertsmith.training.tensor_files import CHUNK_BYTES, TYPES, Copies, safetensors_parts, write_synced


def some_of_each_type() -> dict[str, torch.Tensor]:
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in TYPES}
    return tensors | {"empty": torch.empty(0, 4), "one": torch.tensor(2.5), "名": torch.ones(3)}


def test_safetensors_reads_what_was_written(tmp_path: Path) -> None:
    tensors = some_of_each_type()
    facts = write_synced(tmp_path / "file", safetensors_parts(tensors))
    found = load_file(tmp_path / "file")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    data = (tmp_path / "file").read_bytes()
    assert facts == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


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
    assert torch.equal(load(b"".join(safetensors_parts(second)))["b"], torch.zeros(3))
