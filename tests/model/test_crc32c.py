"""CRC-32C: the values of the standard, and the fast way equals the plain one."""

from __future__ import annotations

import random

import bundle_writer as writer
import pytest

from bertsmith.model.crc32c import crc32c


def test_checksum_of_the_standard() -> None:
    # RFC 3720, section B.4: 32 bytes of zeros, of ones, and ascending.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("num_bytes", [0, 1, 65_535, 65_536, 65_537, 131_077])
def test_folded_checksum_equals_the_plain_one(num_bytes: int) -> None:
    data = random.Random(num_bytes).randbytes(num_bytes)
    assert crc32c(data) == writer.crc(data)
