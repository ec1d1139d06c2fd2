"""Who may ask, and how often: keys compared in constant time, and a bucket of requests for each client."""

from __future__ import annotations

import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bertsmith.errors import SettingsError
from bertsmith.serving.errors import RefusedRequestError, too_many

KEYS_VARIABLE = "BERTSMITH_API_KEYS"
"""The environment's variable with keys, separated by commas or new lines, where no file is named."""
SHORTEST_KEY = 16
MOST_CLIENTS = 10_000
"""Whose buckets are remembered; the one that was seen longest ago is forgotten first."""


def read_keys(file: Path | None) -> tuple[str, ...]:
    """The keys in a file, one a line, `#` begins a remark; or in the environment. Raises `SettingsError`."""
    if file is None:
        text, where = os.environ.get(KEYS_VARIABLE, "").replace(",", "\n"), KEYS_VARIABLE
    else:
        try:
            text, where = file.read_text(encoding="utf-8"), str(file)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: no keys could be read: {error}") from None
    lines = [line.strip() for line in text.splitlines()]
    keys = tuple(line for line in lines if line and not line.startswith("#"))
    for place, key in enumerate(keys, start=1):
        if len(key) < SHORTEST_KEY:
            raise SettingsError(
                f"{where}: key {place} has {len(key)} characters; shorter than {SHORTEST_KEY} is guessed"
            )
    if file is not None and not keys:
        raise SettingsError(f"{file}: no keys in it; one a line")
    return keys


@dataclass
class _Bucket:
    tokens: float
    at: float


class Access:
    """keys: none for everybody. requests_per_second: of each client; None for any; twice as many may come at once."""

    def __init__(self, keys: Sequence[str] = (), requests_per_second: float | None = None):
        # Hashes have one length, so that the comparison tells nothing of it either.
        self._keys = [sha256(key.encode()).digest() for key in keys]
        self._rate = requests_per_second
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()

    def admit(self, headers: Mapping[bytes, bytes], address: str) -> None:
        """Raises `RefusedRequestError`: 401 without a known key, 429 for one that asks too often."""
        client = address.encode()
        if self._keys:
            client = sha256(_key_in(headers)).digest()
            # All are compared, so that the time does not say which one was nearly right.
            if not sum(hmac.compare_digest(client, key) for key in self._keys):
                raise RefusedRequestError(
                    401,
                    "no_key",
                    "this server wants a key: the header Authorization: Bearer KEY",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        if self._rate is not None:
            self._count(client, self._rate)

    def _count(self, client: bytes, rate: float) -> None:
        now, most = time.monotonic(), max(1.0, 2 * rate)
        bucket = self._buckets.setdefault(client, _Bucket(most, now))
        self._buckets.move_to_end(client)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        bucket.tokens, bucket.at = min(most, bucket.tokens + rate * (now - bucket.at)), now
        if bucket.tokens < 1:
            raise too_many((1 - bucket.tokens) / rate)
        bucket.tokens -= 1


def _key_in(headers: Mapping[bytes, bytes]) -> bytes:
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
