"""What a runner is: it gives items to workers, each to one, and hands back what became of them. Knows no machine.

An item whose worker dies is given to another one, a few times; an item that raises is not tried again, and does not
stop the others.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from bertsmith.errors import BertsmithError
from bertsmith.runtime.interruption import InterruptedRunError, stoppable
from bertsmith.settings import Settings

MAX_ATTEMPTS = 3
"""Workers that an item may cost before it is given up."""
POLL_SECONDS = 0.2
"""How often a runner that waits looks whether it was asked to stop."""

T = TypeVar("T")


class ScaleSettings(Settings):
    """Where the work is done."""

    on: Literal["local", "ray"] | None = Field(
        None, description="local: processes of this machine; ray: a Ray cluster; None: this process alone"
    )
    num_workers: int | None = Field(None, ge=1, description="workers at a time; None: one for each core")
    threads_per_worker: int | None = Field(
        None, ge=1, description="threads, on Ray also cores, of each worker; None: its share of the cores, on Ray 1"
    )
    gpus_per_worker: float = Field(0, ge=0, description="GPUs of each worker, on Ray")
    min_workers: int | None = Field(
        None, ge=1, description="of training on Ray: go on with so few where machines leave; None: always num_workers"
    )
    max_restarts: int = Field(3, ge=0, description="of training: how often it is begun again after a worker died")
    address: str | None = Field(
        None, description="HOST:PORT of the Ray cluster; None: RAY_ADDRESS, else one on this machine for this run alone"
    )

    @property
    def local_workers(self) -> int:
        """Processes on this machine."""
        return self.num_workers or max(1, num_cores() // (self.threads_per_worker or 1))

    @property
    def local_threads(self) -> int:
        """Of each of them."""
        return self.threads_per_worker or max(1, num_cores() // self.local_workers)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What became of an item: the function's value, or why there is none."""

    item: T
    value: Any = None
    error: str | None = None


class Runner(Protocol):
    """Several workers."""

    def run(self, function: Callable[[T], Any], items: Iterable[T]) -> Iterator[Outcome[T]]:
        """Outcomes as they come; the next item is asked for when a worker is free and all outcomes so far were taken.

        `function`, items and values are pickled. Raises `InterruptedRunError` where a signal has come; then, and when
        the iterator is closed, the workers are stopped.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker sends back. `is_lost`: it was stopped before the item was done."""

    value: Any = None
    error: str | None = None
    is_lost: bool = False

    def outcome(self, item: T) -> Outcome[T]:
        return Outcome(item, self.value, self.error)


def attempt(function: Callable[[T], Any], item: T) -> Reply:
    """The function's value or error, in the worker; a signal to the worker is no error of the item."""
    try:
        with stoppable():
            return Reply(function(item))
    except InterruptedRunError:
        return Reply(is_lost=True)
    except (BertsmithError, OSError) as error:
        return Reply(error=str(error))
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        return Reply(error=f"{type(error).__name__}: {error} ({at.filename}, line {at.lineno})")


def gave_up() -> str:
    """The error of an item that cost too many workers."""
    return f"its worker died, {MAX_ATTEMPTS} times; out of memory, perhaps: fewer workers, or smaller shards, need less"


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
