"""Connections that send no whole head: waited for so long, and read so far; uvicorn bounds neither. Knows no route."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0
"""From a connection or a request's first byte to the end of its head; then the connection is cut."""
MOST_HEAD_BYTES = 65_536
"""Of which all that came at once is counted when the head is not whole with it."""


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with these bounds. Between requests its own time for idling holds."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._num_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:
            self._num_bytes += len(data)
            if self._num_bytes > MOST_HEAD_BYTES:
                self._stop()
                self.send_400_response(f"A head of more than {MOST_HEAD_BYTES} bytes.")

    def _wait(self) -> None:
        self._stop()
        self._num_bytes = 0
        self._timer = self.loop.call_later(HEAD_SECONDS, self._cut)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._timer = None
        self.transport.close()
