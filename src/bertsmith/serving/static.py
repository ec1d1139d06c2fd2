"""The page at `/` and its files: read once, sent as they are, under a policy that lets nothing else run or load.

Knows no model; the page asks the server's routes for everything that it shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import FastAPI, Request, Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked for again each time, and not sent again where it is the same: never yesterday's script with today's server.
    "Cache-Control": "no-cache",
}
# Written out: what a machine's own table says of `.js` differs, and browsers refuse modules of another type.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PATHS = {"index.html": "/", "docs.html": "/docs"}
"""Of the files that are pages; the others are at `/page/NAME`."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """content: its bytes. tag: what tells it from another version, as HTTP's ETag."""

    content: bytes
    media_type: str
    tag: str

    def response(self, request: Request) -> Response:
        headers = {**HEADERS, "ETag": self.tag}
        if request.headers.get("If-None-Match") == self.tag:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def page_files() -> dict[str, StaticFile]:
    """Every file of the page by its name."""
    found = {}
    for file in files("bertsmith.serving").joinpath("page").iterdir():
        media_type = MEDIA_TYPES.get(PurePosixPath(file.name).suffix)
        if media_type is not None:
            content = file.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
            found[file.name] = StaticFile(content, media_type, tag)
    return found


def add_page(app: FastAPI) -> None:
    """The page at `/`, that of the API at `/docs`, their files at `/page/NAME`; the description lists none of them."""
    for name, file in page_files().items():
        path = PATHS.get(name, f"/page/{name}")
        app.add_api_route(path, _sender(file), methods=["GET", "HEAD"], include_in_schema=False)


def _sender(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        return file.response(request)

    return send
