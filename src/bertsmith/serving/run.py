"""A server's life: it listens, and at the first SIGTERM or Ctrl-C answers what it has accepted and ends."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from bertsmith.errors import SettingsError
from bertsmith.serving.app import State
from bertsmith.serving.heads import BoundedHeads

log = logging.getLogger(__name__)
BACKLOG = 2_048
IDLE_SECONDS = 75
"""That a connection is kept without a request: clients keep theirs a shorter time, and would send into a closed one."""
GRACE_SECONDS = 5.0
"""Beyond the longest that a request may take, before connections are cut."""


class Server(uvicorn.Server):
    """uvicorn's, which tells the application that it is draining. drain_seconds: before it stops listening."""

    def __init__(self, config: uvicorn.Config, state: State, drain_seconds: float):
        super().__init__(config)
        self.state, self.drain_seconds = state, drain_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: not ready any more, then no new connections, then the end. The second: the end at once."""
        if self.state.is_draining:
            self.force_exit = self.should_exit = True
            return
        self.state.is_draining = True
        if self.drain_seconds:
            timer = threading.Timer(self.drain_seconds, self._stop_listening)
            timer.daemon = True
            timer.start()
        else:
            self._stop_listening()

    def _stop_listening(self) -> None:
        self.should_exit = True


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket there, bound before models are loaded in vain. Raises `SettingsError` where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"{host}:{port}: cannot listen there: {error.strerror}; another --port, or --port 0 for a free one"
            ) from None
        yield bound
    finally:
        bound.close()


def address_of(bound: socket.socket) -> str:
    """As a browser wants it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: Any,
    bound: socket.socket,
    *,
    deadline_seconds: float,
    drain_seconds: float = 0.0,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Until a signal ends it; `ready` hears the address when requests are taken."""
    config = uvicorn.Config(
        app,
        http=BoundedHeads,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_SECONDS,
        lifespan="off",
        timeout_graceful_shutdown=round(deadline_seconds + GRACE_SECONDS),
    )
    server = Server(config, app.state.server, drain_seconds)
    bound.listen(BACKLOG)
    ready(address_of(bound))
    server.run(sockets=[bound])
    log.info("the server has ended")
