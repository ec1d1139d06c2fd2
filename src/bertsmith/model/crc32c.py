"""CRC-32C (Castagnoli), the checksum of Google's file formats, in numpy. Knows nothing of those formats.

The checksum is the remainder of the data, seen as a polynomial, modulo a fixed one. Rows of `_LANES` words are folded
onto each other by one multiplication each, all lanes at once; what remains is short enough for the textbook loop.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78  # bit-reversed, RFC 3720 section B.4
_LANES = 1 << 13  # a row of 32 KiB and the tables stay in the first-level cache
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview | NDArray[np.uint8]) -> int:
    """The CRC-32C of `data`.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    octets = np.frombuffer(data, dtype=np.uint8) if not isinstance(data, np.ndarray) else data
    row_bytes = 4 * _LANES
    folded = len(octets) - len(octets) % row_bytes if len(octets) >= 2 * row_bytes else 0
    state = 0xFFFFFFFF
    if folded:
        rows = octets[:folded].view("<u4").reshape(-1, _LANES)
        row = rows[0].astype(np.uint32)
        row[0] ^= np.uint32(state)
        low, high = _shift_tables(row_bytes)
        for following in rows[1:]:
            row = low[row & np.uint32(0xFFFF)] ^ high[row >> np.uint32(16)] ^ following
        state = _remainder(row.astype("<u4").tobytes(), 0)
    return _remainder(octets[folded:].tobytes(), state) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview | NDArray[np.uint8]) -> int:
    """The checksum as LevelDB and TensorFlow store it: rotated and offset, since checksums of checksums collide."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _remainder(data: bytes, state: int) -> int:
    table = _byte_table()
    for octet in data:
        state = table[(state ^ octet) & 0xFF] ^ (state >> 8)
    return state


@cache
def _byte_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


@cache
def _shift_tables(num_bytes: int) -> tuple[Words, Words]:
    """For the low and the high half of a word: the word followed by `num_bytes` zeros, a power of two; to be XORed."""
    table = _byte_table()
    matrix = np.array([table[1 << bit & 0xFF] ^ (1 << bit >> 8) for bit in range(32)], dtype=np.uint32)
    for _ in range(num_bytes.bit_length() - 1):
        matrix = _multiply(matrix, matrix)
    halves = np.arange(1 << 16, dtype=np.uint32)
    return _multiply(matrix, halves), _multiply(matrix, halves << np.uint32(16))


def _multiply(matrix: Words, vectors: Words) -> Words:
    """Products over GF(2) of a matrix, given as the images of the 32 single bits, with each of `vectors`."""
    bits = vectors[:, None] >> np.arange(32, dtype=np.uint32) & np.uint32(1)
    product: Words = np.bitwise_xor.reduce(bits * matrix, axis=1)
    return product
