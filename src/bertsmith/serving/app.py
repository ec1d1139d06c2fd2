"""The application: every route behind one door, which asks for keys, counts, times, and turns errors into answers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bertsmith import __version__
from bertsmith.serving.access import Access
from bertsmith.serving.bodies import read_json
from bertsmith.serving.description import describe
from bertsmith.serving.errors import AbandonedRequestError, RefusedRequestError, overloaded
from bertsmith.serving.routes import ROUTES, Asked, Route
from bertsmith.serving.served import House
from bertsmith.serving.static import add_page

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/docs", "/livez", "/readyz", "/openapi.json"})
"""Without a key, and `/page/...`: they tell nothing of texts, and a page has to be there to ask for a key."""
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Of every answer that does not say otherwise."""
GONE = 499
"""In the counts: the client went away before its answer."""


class State:
    """Whether new requests are wanted."""

    def __init__(self) -> None:
        self.is_draining = False


def create_app(house: House, access: Access | None = None) -> FastAPI:
    """The server's application. `app.state.server` says whether it is draining."""
    app = FastAPI(
        title="bertsmith",
        version=__version__,
        description="Saved models, each with what it is asked and what it answers.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = State()
    for route in ROUTES:
        app.add_route(route.path, _handler(house, route), methods=[route.method], include_in_schema=False)
    _add_health(app, house)
    add_page(app)
    app.openapi = cache(lambda: describe(app, house))  # type: ignore[method-assign]
    app.add_exception_handler(RefusedRequestError, _refused)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(AbandonedRequestError, _abandoned)
    app.add_middleware(Door, house=house, access=access or Access())
    return app


def _handler(house: House, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        started = time.monotonic()
        body = {} if route.method == "GET" else await read_json(request, house.limits)
        asked = Asked(house, body, started, request.path_params.get("name"))
        if route.method == "GET":
            return _answer(await route.endpoint(asked))
        return _answer(await _while_there(request, route.endpoint(asked)))

    return handle


async def _while_there(request: Request, answering: Awaitable[bytes]) -> bytes:
    """The answer, or its work given up as soon as the client is gone."""
    work = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise AbandonedRequestError
        return work.result()
    finally:
        gone.cancel()
        if not work.done():
            work.cancel()
            with suppress(asyncio.CancelledError, RefusedRequestError):
                await work


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _answer(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedRequestError)
    return _answer(json.dumps(error.body()).encode(), error.status, error.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "refused")
    message = (
        f"{request.method} {request.url.path[:200]}: {str(error.detail).lower()}; /openapi.json lists what there is"
    )
    refused = RefusedRequestError(error.status_code, kind, message, headers=error.headers or {})
    return await _refused(request, refused)


async def _abandoned(request: Request, error: Exception) -> Response:
    return Response(status_code=GONE)


def _add_health(app: FastAPI, house: House) -> None:
    async def livez(request: Request) -> Response:
        return _answer(b'{"status":"alive"}')

    async def readyz(request: Request) -> Response:
        if app.state.server.is_draining or not house.engine.is_alive:
            return _answer(b'{"status":"draining"}', 503)
        return _answer(b'{"status":"ready"}')

    async def metrics(request: Request) -> Response:
        return Response(house.measures.text(), media_type="text/plain; version=0.0.4")

    for path, endpoint in (("/livez", livez), ("/readyz", readyz), ("/metrics", metrics)):
        app.add_route(path, endpoint, methods=["GET"], include_in_schema=False)


class Door:
    """What every request goes through, as plain ASGI: the answer's headers and its count are added on the way out."""

    def __init__(self, app: ASGIApp, house: House, access: Access):
        self.app, self.house, self.access = app, house, access
        self.num_inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = 500
        has_begun = False

        async def count(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                said = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in HEADERS if pair[0] not in said)]
            await send(message)

        self.num_inside += 1
        try:
            refused = self._refusal(scope)
            if refused is None:
                await self.app(scope, receive, count)
            else:
                await _answer(json.dumps(refused.body()).encode(), refused.status, refused.headers)(
                    scope, receive, count
                )
        except Exception:
            # Its trace belongs into the log, which has no texts of requests; the client learns that it happened.
            log.exception("%s %s failed", scope["method"], _route_of(scope))
            if not has_begun:
                failure = RefusedRequestError(500, "failed", "the server failed at this request; its log says why")
                await _answer(json.dumps(failure.body()).encode(), 500)(scope, receive, count)
        finally:
            self.num_inside -= 1
            seconds = time.monotonic() - started
            route = _route_of(scope)
            self.house.measures.requests.labels(route, status).inc()
            self.house.measures.seconds.labels(route).observe(seconds)
            log.info("%s %s %d %.1f ms", scope["method"], route, status, 1000 * seconds)

    def _refusal(self, scope: Scope) -> RefusedRequestError | None:
        """Why the request does not come in, if it does not."""
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith("/page/"):
            return None
        try:
            self.access.admit(_first_of_each(scope["headers"]), (scope.get("client") or ("",))[0])
            if self.num_inside > self.house.limits.max_connections:
                raise overloaded("more requests at a time than this server takes", 1)
        except RefusedRequestError as error:
            return error
        return None


def _first_of_each(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return dict(reversed(headers))


def _route_of(scope: Scope) -> str:
    """The route's pattern, not the path: paths that clients invent are not counted apart."""
    route: Any = scope.get("route")
    return getattr(route, "path", "none") if route is not None else _known(scope["path"])


def _known(path: str) -> str:
    if path in OPEN_PATHS or path in _PATHS:
        return path
    if not path.startswith("/v1/models/"):
        return "other"
    return "/v1/models/{name}/" + ("explain" if path.endswith("/explain") else "predict")


_PATHS = frozenset({"/metrics", *(route.path for route in ROUTES)})
