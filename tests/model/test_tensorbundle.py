"""TensorBundle: read what an independent writer wrote; refuse every damage by name; never read out of bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bundle_writer as writer
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bertsmith.errors import FileFormatError
from bertsmith.model.tensorbundle import TensorBundle


def tensors(count: int = 12) -> dict[str, NDArray[Any]]:
    """Names with long common prefixes, several types, a scalar."""
    generator = np.random.default_rng(0)
    made: dict[str, NDArray[Any]] = {
        f"bert/encoder/layer_{i}/output/dense/kernel": generator.normal(size=(i + 1, 3)).astype(np.float32)
        for i in range(count)
    }
    return made | {"global_step": np.array(7, dtype=np.int64), "half": np.ones((2, 2), dtype=np.float16)}


@pytest.mark.parametrize(("num_shards", "block_bytes"), [(1, 1 << 20), (1, 40), (3, 100)])
def test_reads_what_was_written(tmp_path: Path, num_shards: int, block_bytes: int) -> None:
    written = tensors()
    writer.write_bundle(tmp_path / "bert_model.ckpt", written, num_shards, block_bytes)
    bundle = TensorBundle(tmp_path / "bert_model.ckpt")
    assert set(bundle) == set(written)
    for name, tensor in written.items():
        assert bundle.shape(name) == tensor.shape
        assert bundle[name].dtype == tensor.dtype
        np.testing.assert_array_equal(bundle[name], tensor)


def test_every_flipped_byte_of_the_index_is_noticed(tmp_path: Path) -> None:
    prefix = tmp_path / "bert_model.ckpt"
    written = tensors(2)
    writer.write_bundle(prefix, written)
    index = prefix.with_name("bert_model.ckpt.index")
    good = index.read_bytes()
    for position in range(len(good)):
        index.write_bytes(good[:position] + bytes([good[position] ^ 0x55]) + good[position + 1 :])
        try:
            bundle = {name: tensor.tolist() for name, tensor in TensorBundle(prefix).items()}
        except FileFormatError:
            continue
        # Only the unused block of filters and the padding of the footer may change unnoticed.
        assert bundle == {name: tensor.tolist() for name, tensor in written.items()}


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    prefix = tmp_path / "bert_model.ckpt"
    writer.write_bundle(prefix, tensors(2))
    for file in sorted(tmp_path.iterdir()):
        good = file.read_bytes()
        for length in range(len(good)):
            file.write_bytes(good[:length])
            with pytest.raises(FileFormatError):
                dict(TensorBundle(prefix).items())
        file.write_bytes(good)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=st.binary(max_size=60))
def test_any_bytes_as_an_entry_are_read_or_refused(tmp_path: Path, value: bytes) -> None:
    prefix = tmp_path / "x.ckpt"
    writer.write_bundle(prefix, {})
    prefix.with_name("x.ckpt.index").write_bytes(writer.table({b"": writer.header(1), b"tensor": value}))
    with pytest.raises(FileFormatError, match=r"x\.ckpt"):  # the data file is empty, so no entry can be right
        dict(TensorBundle(prefix).items())


def test_damaged_values_are_refused(tmp_path: Path) -> None:
    prefix = tmp_path / "bert_model.ckpt"
    writer.write_bundle(prefix, tensors())
    data = prefix.with_name("bert_model.ckpt.data-00000-of-00001")
    good = data.read_bytes()
    data.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(FileFormatError, match=r"data-00000-of-00001: tensor 'bert/encoder/layer_0.*checksum"):
        dict(TensorBundle(prefix).items())


def test_missing_shard_is_named(tmp_path: Path) -> None:
    prefix = tmp_path / "bert_model.ckpt"
    writer.write_bundle(prefix, tensors(), num_shards=2)
    prefix.with_name("bert_model.ckpt.data-00001-of-00002").unlink()
    with pytest.raises(FileFormatError, match="data-00001-of-00002: no such file"):
        TensorBundle(prefix)


FLOATS = np.ones(4, dtype=np.float32).tobytes()
BAD_ENTRIES = {
    "the unknown element type 99": writer.entry(99, (4,), 0, 0, FLOATS),
    "TensorFlow 2 objects": writer.entry(7, (), 0, 0, FLOATS),
    "claims 16 bytes": writer.entry(1, (5,), 0, 0, FLOATS),
    "ends beyond its data file": writer.entry(1, (4,), 0, 1, FLOATS),
    r"shard 3, byte 16": writer.entry(1, (4,), 3, 0, FLOATS),
    "stored in slices": writer.entry(1, (4,), 0, 0, FLOATS) + writer.message(7, b""),
    "an impossible shape": writer.entry(1, ((1 << 64) - 4,), 0, 0, FLOATS),
    "a message is cut off": writer.entry(1, (4,), 0, 0, FLOATS)[:-1],
    "a number is cut off": b"\x08",
    "more than 64 bits": b"\x08" + b"\xff" * 11,
    "wire type 3": b"\x0b",
}


@pytest.mark.parametrize("problem", BAD_ENTRIES)
def test_bad_entries_are_refused(tmp_path: Path, problem: str) -> None:
    prefix = tmp_path / "x.ckpt"
    prefix.with_name("x.ckpt.data-00000-of-00001").write_bytes(FLOATS)
    prefix.with_name("x.ckpt.index").write_bytes(writer.table({b"": writer.header(1), b"t": BAD_ENTRIES[problem]}))
    with pytest.raises(FileFormatError, match=rf"x\.ckpt\.index: .*{problem}"):
        TensorBundle(prefix)


def test_bad_headers_are_refused(tmp_path: Path) -> None:
    index = tmp_path / "x.ckpt.index"
    for header, problem in [(writer.header(0), "0 shards"), (writer.header(1, big_endian=True), "big-endian")]:
        index.write_bytes(writer.table({b"": header}))
        with pytest.raises(FileFormatError, match=problem):
            TensorBundle(tmp_path / "x.ckpt")


def test_compressed_blocks_are_refused(tmp_path: Path) -> None:
    out = bytearray()
    index = {b"\xff": writer.append(out, writer.pack({b"": writer.header(1)}, 1), compression=1)}
    handles = writer.append(out, writer.pack({}, 1)) + writer.append(out, writer.pack(index, 1))
    path = tmp_path / "x.ckpt.index"
    path.write_bytes(bytes(out) + handles.ljust(40, b"\x00") + writer.MAGIC.to_bytes(8, "little"))
    with pytest.raises(FileFormatError, match="compression 1 of a block"):
        TensorBundle(tmp_path / "x.ckpt")


def test_names_that_grow_without_bound_are_refused(tmp_path: Path) -> None:
    # Each name shares all of the one before: a few bytes a name in the file, 4 KiB and more in memory.
    names = {b"n" * length: writer.entry(1, (4,), 0, 0, FLOATS) for length in range(4000, 4200, 50)}
    (tmp_path / "x.ckpt.index").write_bytes(writer.table({b"": writer.header(1), **names}, 1 << 20, 1000))
    with pytest.raises(FileFormatError, match="4096"):
        TensorBundle(tmp_path / "x.ckpt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt.index").write_bytes(b"not an index" * 20)
    with pytest.raises(FileFormatError, match="does not end like the index"):
        TensorBundle(tmp_path / "x.ckpt")
