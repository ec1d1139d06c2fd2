"""Who connects and never finishes a head is not waited for, however much is sent; others are answered meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from toy_served import listening

pytest.importorskip("fastapi", reason="extra `serve`")
from fastapi import FastAPI, Response
from starlette.requests import Request

from bertsmith.serving import heads
from bertsmith.serving.heads import BoundedHeads

WHOLE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a server that waits two seconds for a head, and answers how many bytes a body has."""
    monkeypatch.setattr(heads, "HEAD_SECONDS", 2.0)

    async def size(request: Request) -> Response:
        return Response(f"{len(await request.body())} bytes")

    app = FastAPI()
    app.add_route("/", size, methods=["POST"])
    with listening(app, http=BoundedHeads) as address:
        yield urlsplit(address).port or 0


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def everything(connection: socket.socket) -> bytes:
    """Up to the end of the connection; a reset is one."""
    said = b""
    try:
        while part := connection.recv(65_536):
            said += part
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("begun", [b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_never_ends_is_given_up(port: int, begun: bytes) -> None:
    with connect(port) as silent, connect(port) as other:
        silent.sendall(begun)
        other.sendall(WHOLE)
        assert b"300000 bytes" in other.recv(65_536)
        assert everything(silent) == b""


def test_the_second_head_of_a_connection_is_bounded_too(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(WHOLE)
        assert b"300000 bytes" in connection.recv(65_536)
        connection.sendall(b"POST / HT")
        assert everything(connection) == b""


def test_an_endless_head_is_refused_before_it_fills_the_memory(port: int) -> None:
    with connect(port) as connection:
        num_sent = 0
        try:
            connection.sendall(b"POST / HTTP/1.1\r\nX: ")
            while num_sent < 50_000_000:
                num_sent += connection.send(b"x" * 65_536)
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert num_sent < 50_000_000
    with connect(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 12_000)
        assert b"400 Bad Request" in everything(connection)


def test_a_slow_body_is_not_a_slow_head(port: int) -> None:
    head, _, rest = WHOLE.partition(b"\r\n\r\n")
    with connect(port) as connection:
        connection.sendall(head + b"\r\n\r\n")
        connection.settimeout(2.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(20)
        connection.sendall(rest)
        assert b"300000 bytes" in connection.recv(65_536)
