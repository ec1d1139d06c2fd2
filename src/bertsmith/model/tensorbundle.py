"""TensorFlow's TensorBundle, the format of the original BERT checkpoints, read without TensorFlow; nothing is executed.

A bundle `bert_model.ckpt` is an index `bert_model.ckpt.index` (a LevelDB table of names and protobuf entries) and
shards of raw values, `bert_model.ckpt.data-00000-of-00001` and so on. Knows nothing of what the tensors mean.
Formats: LevelDB's `doc/table_format.md`; TensorFlow's `tensor_bundle.proto`, `tensor_shape.proto` and `types.proto`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import FileFormatError
from bertsmith.model.crc32c import masked_crc32c

MAX_INDEX_BYTES = 16 << 20  # BERT-large with its optimizer slots needs 0.1 MB
MAX_RANK = 16
MAX_NAME_BYTES = 4096  # names share prefixes, so a small file can hold very long ones

_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # compression, then the checksum of the block and the compression
_MAGIC = 0xDB4775248B80FB57
_STRING = 7
_DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 4: np.dtype("u1"), 5: np.dtype("<i2"),
    6: np.dtype("i1"), 9: np.dtype("<i8"), 17: np.dtype("<u2"), 19: np.dtype("<f2"), 22: np.dtype("<u4"),
    23: np.dtype("<u8"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """Where one tensor lies: `num_bytes` at `offset` of shard number `shard`, checked by `checksum`."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    shard: int
    offset: int
    num_bytes: int
    checksum: int


class TensorBundle(Mapping[str, NDArray[Any]]):
    """The tensors by name of the bundle at `prefix`, the common part of its files' names (`…/bert_model.ckpt`).

    The index is read and checked at once, a tensor when it is asked for.
    Raises `FileFormatError` for anything that is damaged, cut off, compressed or of a kind that is not numbers.
    """

    def __init__(self, prefix: Path):
        self.index = prefix.with_name(prefix.name + ".index")
        try:
            values = _read_table(self.index)
            num_shards = _num_shards(values.pop(b"", b""))
            self.shards = [
                prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{num_shards:05d}") for number in range(num_shards)
            ]
            sizes = [_size(shard) for shard in self.shards]
            self.entries = {_text(key): _entry(_text(key), value, sizes) for key, value in values.items()}
        except _RefusedError as error:
            raise FileFormatError(f"{self.index}: {error}") from None

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The tensor, mapped read-only from its shard; its checksum has been verified."""
        entry = self.entries[name]
        shard = self.shards[entry.shard]
        octets = np.memmap(shard, np.uint8, "r", entry.offset, (entry.num_bytes,))
        if masked_crc32c(octets) != entry.checksum:
            raise FileFormatError(
                f"{shard}: tensor {name!r}: the values do not match their checksum, so the file is damaged: "
                "copy or download it again"
            )
        return octets.view(entry.dtype).reshape(entry.shape)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self.entries[name].shape


# --- entries ---------------------------------------------------------------------------------------------------------


def _num_shards(header: bytes) -> int:
    """From `BundleHeaderProto`: num_shards = 1, endianness = 2."""
    fields = _fields(header)
    num_shards = _number(fields, 1)
    if not 1 <= num_shards <= 99_999:
        _refuse(f"the header speaks of {num_shards} shards")
    if _number(fields, 2):
        _refuse("the values are big-endian", "write the checkpoint again on a little-endian machine")
    return num_shards


def _entry(name: str, value: bytes, sizes: list[int]) -> BundleEntry:
    """`BundleEntryProto`: dtype = 1, shape = 2, shard_id = 3, offset = 4, size = 5, crc32c = 6, slices = 7."""
    fields = _fields(value)
    kind = _number(fields, 1)
    if kind == _STRING:
        _refuse(
            f"tensor {name!r} is text, as in checkpoints of TensorFlow 2 objects",
            "only the original checkpoints of BERT are read; convert this one with the program that wrote it",
        )
    if kind not in _DTYPES:
        _refuse(f"tensor {name!r} has the unknown element type {kind}")
    if 7 in fields:
        _refuse(f"tensor {name!r} is stored in slices", "save the checkpoint with unpartitioned variables")
    dtype, shape = _DTYPES[kind], _shape(_message(fields, 2), name)
    shard, offset, num_bytes = (_number(fields, field) for field in (3, 4, 5))
    if num_bytes != math.prod(shape) * dtype.itemsize:
        _refuse(f"tensor {name!r} of shape {shape} and type {dtype.name} claims {num_bytes} bytes")
    if shard >= len(sizes) or offset + num_bytes > sizes[shard]:
        _refuse(f"tensor {name!r} ends beyond its data file (shard {shard}, byte {offset + num_bytes})")
    checksum = _message(fields, 6)
    return BundleEntry(dtype, shape, shard, offset, num_bytes, int.from_bytes(checksum, "little"))


def _shape(value: bytes, name: str) -> tuple[int, ...]:
    """`TensorShapeProto`: repeated dim = 2 (size = 1), unknown_rank = 3."""
    fields = _fields(value)
    sizes = [_number(_fields(_as_bytes(dim)), 1) for dim in fields.get(2, [])]
    if _number(fields, 3) or len(sizes) > MAX_RANK or not all(0 < size < 1 << 48 for size in sizes):
        _refuse(f"tensor {name!r} has an impossible shape")
    return tuple(sizes)


def _text(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        _refuse(f"the tensor name {key!r} is not UTF-8")


# --- the table -------------------------------------------------------------------------------------------------------


def _read_table(path: Path) -> dict[bytes, bytes]:
    """All keys and values of a LevelDB table, whose keys ascend."""
    size = _size(path)
    if not _FOOTER_BYTES <= size <= MAX_INDEX_BYTES:
        _refuse(f"an index has between {_FOOTER_BYTES} and {MAX_INDEX_BYTES} bytes, this file has {size}")
    data = path.read_bytes()
    footer = data[-_FOOTER_BYTES:]
    if int.from_bytes(footer[-8:], "little") != _MAGIC:
        _refuse("the file does not end like the index of a checkpoint")
    _, position = _handle(footer, 0)
    (offset, length), _ = _handle(footer, position)
    values: dict[bytes, bytes] = {}
    last = None
    for _, handle in _entries(_block(data, offset, length)):
        (offset, length), _ = _handle(handle, 0)
        for key, value in _entries(_block(data, offset, length)):
            if last is not None and key <= last:
                _refuse(f"the names do not ascend: {key!r} comes after {last!r}")
            values[key] = value
            last = key
    return values


def _block(data: bytes, offset: int, length: int) -> bytes:
    end = offset + length
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        _refuse(f"a block ends beyond the file (byte {end})")
    if data[end]:
        _refuse(f"compression {data[end]} of a block is not read", "write the checkpoint without compression")
    if masked_crc32c(data[offset : end + 1]) != int.from_bytes(data[end + 1 : end + _TRAILER_BYTES], "little"):
        _refuse(f"the block at byte {offset} does not match its checksum")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block: each key states how many bytes it shares with the one before."""
    num_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (num_restarts + 1)
    if end < 0:
        _refuse(f"a block of {len(block)} bytes claims {num_restarts} restart points")
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        fresh, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or shared + fresh > MAX_NAME_BYTES or position + fresh + length > end:
            _refuse(f"an entry is longer than its block of {len(block)} bytes, or its name than {MAX_NAME_BYTES}")
        key = key[:shared] + block[position : position + fresh]
        position += fresh
        yield key, block[position : position + length]
        position += length


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    """A block handle, (offset, length), and the position after it."""
    offset, position = _varint(data, position)
    length, position = _varint(data, position)
    return (offset, length), position


# --- protocol buffers ------------------------------------------------------------------------------------------------


def _fields(data: bytes) -> dict[int, list[int | bytes]]:
    """The fields of a message by number: integers for wire type 0, bytes for 1, 2 and 5."""
    fields: dict[int, list[int | bytes]] = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        wire = tag & 7
        value: int | bytes
        if wire == 0:
            value, position = _varint(data, position)
        elif wire in (1, 2, 5):
            length, position = _varint(data, position) if wire == 2 else (8 if wire == 1 else 4, position)
            if position + length > len(data):
                _refuse("a message is cut off")
            value = data[position : position + length]
            position += length
        else:
            _refuse(f"wire type {wire} in a message")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: Mapping[int, list[int | bytes]], field: int) -> int:
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        _refuse(f"field {field} of a message should be a number")
    return value


def _message(fields: Mapping[int, list[int | bytes]], field: int) -> bytes:
    return _as_bytes(fields.get(field, [b""])[-1])


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        _refuse("a number stands where a message should")
    return value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer of at most 64 bits, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            _refuse("a number is cut off")
        octet = data[position]
        position += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, position
    _refuse("a number of more than 64 bits")


def _size(path: Path) -> int:
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file, and the checkpoint needs it")
    return path.stat().st_size


class _RefusedError(Exception):
    """What is wrong with the index; `TensorBundle` adds its name."""


def _refuse(problem: str, way_out: str = "copy or download the checkpoint again") -> NoReturn:
    raise _RefusedError(f"{problem}: {way_out}")
