"""A wish to stop, from outside: SIGTERM, SIGUSR1 or Ctrl-C, seen where work can be put down. Knows no work.

The first signal sets a flag; whoever is at a place where nothing is lost asks for it. The second one leaves at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bertsmith.errors import BertsmithError
from bertsmith.runtime.processes import processes

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
EXIT_CODE = 75
"""EX_TEMPFAIL of sysexits.h: what was asked for can be gone on with."""


class InterruptedRunError(BertsmithError):
    """Work was put down because a signal asked for it; the message says how to go on."""


class _Wish:
    name: str | None = None
    is_heard: bool = False


_wish = _Wish()


def raise_if_asked() -> None:
    """`InterruptedRunError` where a signal has come: for long work that may be cut off anywhere.

    Several processes put their work down together, where they meet anyway, and not each where it happens to be.
    """
    if processes().size == 1:
        raise_if(asked())


def asked() -> str | None:
    """The name of the signal that has come, if one has."""
    return _wish.name


def raise_if(name: str | None) -> None:
    """`InterruptedRunError` for the signal of that name."""
    if name is not None:
        raise InterruptedRunError(f"stopped by {name}")


@contextmanager
def preparing() -> Iterator[None]:
    """Work before the first step of a run, of which nothing is to be saved: whoever is stopped in it is told so.

    Several processes agree at its end.
    """
    try:
        yield
        raise_if(next((name for name in processes().gather(asked()) if name is not None), None))
    except InterruptedRunError as error:
        reason = f"stopped by {name}" if (name := asked()) else str(error)
        raise common(f"{reason} before the first step; the same command begins again") from None


def common(message: str) -> InterruptedRunError:
    """The error, with which all processes of the run end, and the first tells it."""
    error = InterruptedRunError(message)
    error.is_common, error.is_told = True, not processes().is_first
    return error


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it the signals ask instead of killing; in other threads than the main one nothing changes.

    One within another changes nothing either: a wish lasts to the end of the outer one.
    """
    if threading.current_thread() is not threading.main_thread() or _wish.is_heard:
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if _wish.name is not None:
            os._exit(128 + number)
        _wish.name = signal.Signals(number).name

    before = {number: signal.signal(number, ask) for number in SIGNALS}
    _wish.name, _wish.is_heard = None, True
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _wish.name, _wish.is_heard = None, False
