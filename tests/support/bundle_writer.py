"""Writes TensorFlow's TensorBundle from its description alone: the tests' half of `model/tensorbundle.py`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = 0xDB4775248B80FB57
KINDS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def write_bundle(
    prefix: Path, tensors: Mapping[str, NDArray[Any]], num_shards: int = 1, block_bytes: int = 256
) -> None:
    """`prefix.index` and its data files, tensors dealt out to the shards in turn, names sorted as the format asks."""
    shards = [bytearray() for _ in range(num_shards)]
    entries = {b"": header(num_shards)}
    for number, (name, tensor) in enumerate(sorted(tensors.items(), key=lambda item: item[0].encode())):
        shard = number % num_shards
        raw = np.ascontiguousarray(tensor).tobytes()
        entries[name.encode()] = entry(KINDS[tensor.dtype.name], tensor.shape, shard, len(shards[shard]), raw)
        shards[shard] += raw
    prefix.with_name(prefix.name + ".index").write_bytes(table(entries, block_bytes))
    for number, shard_bytes in enumerate(shards):
        prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{num_shards:05d}").write_bytes(shard_bytes)


def header(num_shards: int, big_endian: bool = False) -> bytes:
    """`BundleHeaderProto`, with the version that TensorFlow 1 and 2 write."""
    return number(1, num_shards) + number(2, int(big_endian)) + message(3, number(1, 1))


def entry(kind: int, shape: tuple[int, ...], shard: int, offset: int, raw: bytes) -> bytes:
    """`BundleEntryProto`; zeros are left out, as protocol buffers do."""
    dims = b"".join(message(2, number(1, size)) for size in shape)
    checksum = varint(6 << 3 | 5) + masked(crc(raw)).to_bytes(4, "little")
    fields = [number(1, kind), message(2, dims), number(3, shard), number(4, offset), number(5, len(raw)), checksum]
    return b"".join(fields)


def table(entries: Mapping[bytes, bytes], block_bytes: int = 256, restart_interval: int = 3) -> bytes:
    """A LevelDB table: data blocks, an empty block of filters, the index block, the footer."""
    out, index = bytearray(), {}
    block: dict[bytes, bytes] = {}
    for key, value in entries.items():
        block[key] = value
        if sum(map(len, block.values())) >= block_bytes:
            index[key] = append(out, pack(block, restart_interval))
            block = {}
    if block:
        index[list(block)[-1] + b"\x00"] = append(out, pack(block, restart_interval))
    handles = append(out, pack({}, 1)) + append(out, pack(index, 1))
    return bytes(out) + handles.ljust(40, b"\x00") + MAGIC.to_bytes(8, "little")


def pack(entries: Mapping[bytes, bytes], restart_interval: int) -> bytes:
    """A block: keys without what they share with the one before, except at the restart points, which are listed."""
    out, restarts, last = bytearray(), [0], b""
    for position, (key, value) in enumerate(entries.items()):
        shared = 0
        if position % restart_interval:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        elif position:
            restarts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return bytes(out) + b"".join(n.to_bytes(4, "little") for n in [*restarts, len(restarts)])


def append(out: bytearray, block: bytes, compression: int = 0) -> bytes:
    """Adds a block with its trailer to `out`; its handle."""
    handle = varint(len(out)) + varint(len(block))
    checked = block + bytes([compression])
    out += checked + masked(crc(checked)).to_bytes(4, "little")
    return handle


def number(field: int, value: int) -> bytes:
    """A protocol buffer field of wire type 0."""
    return varint(field << 3) + varint(value) if value else b""


def message(field: int, value: bytes) -> bytes:
    """A protocol buffer field of wire type 2."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first, the eighth bit set on all but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@cache
def step(state: int) -> int:
    """Eight bits of CRC-32C."""
    for _ in range(8):
        state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state


def crc(data: bytes) -> int:
    """CRC-32C byte by byte."""
    state = 0xFFFFFFFF
    for octet in data:
        state = state >> 8 ^ step((state ^ octet) & 0xFF)
    return state ^ 0xFFFFFFFF


def masked(value: int) -> int:
    """As stored: rotated right by 15 bits, plus a constant."""
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
