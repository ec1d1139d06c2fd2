"""Bodies of requests: read up to a limit, parsed strictly, and taken apart with the place of what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from starlette.requests import ClientDisconnect, Request

from bertsmith.errors import nearest
from bertsmith.serving.errors import AbandonedRequestError, RefusedRequestError, bad_json, invalid, too_large
from bertsmith.serving.limits import LimitSettings

JSON_TYPES = ("application/json", "")
"""What a body may say that it is; nothing at all is taken for JSON."""


async def read_json(request: Request, limits: LimitSettings) -> dict[str, Any]:
    """The JSON object in the body. Raises `RefusedRequestError` with 400, 408, 413 or 415."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in JSON_TYPES and not content_type.endswith("+json"):
        raise RefusedRequestError(
            415, "wrong_type", f"expected a body of application/json, found {content_type[:80]!r}"
        )
    try:
        async with asyncio.timeout(limits.body_seconds):
            body = await _read(request, limits.max_body_bytes)
    except TimeoutError:
        raise RefusedRequestError(
            408, "too_slow", f"the body took longer than {limits.body_seconds:g} seconds"
        ) from None
    except ClientDisconnect:
        raise AbandonedRequestError from None
    return parse(body, limits.max_depth)


async def _read(request: Request, max_bytes: int) -> bytes:
    said = request.headers.get("content-length", "")
    if said.isdecimal() and len(said) < 20 and int(said) > max_bytes:
        raise too_large(f"a body of {int(said):,} bytes, at most {max_bytes:,} are taken")
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise too_large(f"a body of more than {max_bytes:,} bytes")
    return b"".join(parts)


def parse(body: bytes, max_depth: int) -> dict[str, Any]:
    """Strict JSON: UTF-8, finite numbers, an object, no deeper than that."""
    try:
        if body.count(b"[") + body.count(b"{") > max_depth and depth_of(body) > max_depth:
            raise bad_json(f"lists and objects within one another deeper than {max_depth}")
        values = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise bad_json(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise bad_json(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, too
        raise bad_json(f"the body is not JSON that is taken here: {error}") from None
    if not isinstance(values, dict):
        raise bad_json(f"expected a JSON object, found {type(values).__name__}")
    return values


def depth_of(body: bytes) -> int:
    """How deep brackets stand within one another, outside strings; found without recursion, before parsing."""
    # Strings out first: their brackets are text. Escaped backslashes, then escaped quotes, then all between quotes.
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # As an array: two million brackets, which a body may hold, would stop everybody for a second one by one.
    bare = np.frombuffer(b"".join(plain.split(b'"')[::2]), dtype=np.uint8)
    steps = np.isin(bare, list(b"[{")).astype(np.int32) - np.isin(bare, list(b"]}"))
    return int(steps.cumsum(dtype=np.int32).max(initial=0))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def check_names(body: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuses a name that the route does not know, with the nearest one."""
    for name in body:
        if name not in known:
            raise invalid(f"no field {shown(name)}; {nearest(name, known)}")


def shown(value: object) -> str:
    """A value in a message: short, and plain characters."""
    return ascii(value)[:80]


def text_of(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise invalid(f"{name}: expected a text, found {shown(value)}")
    return value


def texts_of(body: Mapping[str, Any], name: str, limits: LimitSettings) -> list[str]:
    """A list of texts, at least one."""
    values = list_of(body, name, limits)
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise invalid(f"{name}: expected texts, found {shown(value)}", place)
    return values


def list_of(body: Mapping[str, Any], name: str, limits: LimitSettings) -> list[Any]:
    """A list, not empty and not too long."""
    values = body.get(name)
    if not isinstance(values, list):
        raise invalid(f"{name}: expected a list, found {shown(values)}")
    if not values:
        raise invalid(f"{name}: an empty list; expected one thing or more")
    if len(values) > limits.max_items:
        raise too_large(f"{name}: {len(values):,} of them, at most {limits.max_items:,} are taken at once")
    return values


def number_of(body: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise invalid(f"{name}: expected a whole number from {least} to {most}, found {shown(value)}")
    return value


def flag_of(body: Mapping[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"{name}: expected true or false, found {shown(value)}")
    return value


def check_texts(value: Any, limits: LimitSettings, index: int | None = None) -> None:
    """Refuses texts that are too long or hold half a character, wherever they are in an input."""
    for text in _strings(value):
        if len(text) > limits.max_characters:
            raise too_large(f"a text of {len(text):,} characters, at most {limits.max_characters:,} are taken", index)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise invalid(f"a lone surrogate at character {error.start} of a text", index) from None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield key
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)
