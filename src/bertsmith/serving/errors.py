"""What a client is told when a request is not answered: a status, a kind, a sentence, and which input was at fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RefusedRequestError(Exception):
    """index: of the input at fault, from 0, where there is one."""

    status: int
    kind: str
    message: str
    index: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        return {"error": {"type": self.kind, "message": self.message, "index": self.index}}


def bad_json(message: str) -> RefusedRequestError:
    return RefusedRequestError(400, "bad_json", message)


def invalid(message: str, index: int | None = None) -> RefusedRequestError:
    return RefusedRequestError(422, "invalid", message, index)


def too_large(message: str, index: int | None = None) -> RefusedRequestError:
    return RefusedRequestError(413, "too_large", message, index)


def not_found(message: str) -> RefusedRequestError:
    return RefusedRequestError(404, "not_found", message)


def overloaded(message: str, seconds: float) -> RefusedRequestError:
    """seconds: after which another try is worth it."""
    return RefusedRequestError(503, "overloaded", message, headers={"Retry-After": str(max(1, round(seconds)))})


def too_many(seconds: float) -> RefusedRequestError:
    message = "more requests a second than this server takes from one client"
    return RefusedRequestError(429, "too_many", message, headers={"Retry-After": str(max(1, round(seconds)))})


def too_late() -> RefusedRequestError:
    return RefusedRequestError(504, "too_late", "not answered by its deadline, and given up")


class AbandonedRequestError(Exception):
    """The client went away; nobody is there to be told."""
