"""Workers that are processes of this machine. Knows no work.

A worker is a fresh Python that outlives its items, so that what it has loaded serves the next one. It ends with the
process that started it, however that ends.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing import connection as waiting
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.scale.runner import MAX_ATTEMPTS, POLL_SECONDS, Outcome, Reply, attempt, gave_up

T = TypeVar("T")
THREADS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")
"""What PyTorch's and the tokenizer's threads are numbered by; what the user has set holds."""


class LocalRunner:
    """At most `num_workers` processes at a time, of `num_threads` threads each."""

    def __init__(self, num_workers: int, num_threads: int = 1):
        self.num_workers = num_workers
        self.num_threads = num_threads

    def run(self, function: Callable[[T], Any], items: Iterable[T]) -> Iterator[Outcome[T]]:
        """As `Runner.run`."""
        coming = iter(items)
        lost: list[_Given] = []
        idle: list[_Worker] = []
        busy: list[_Worker] = []
        try:
            while True:
                while len(busy) < self.num_workers:
                    given = next(chain(_taken(lost), map(_Given, coming)), None)
                    if given is None:
                        break
                    busy.append(idle.pop() if idle else self._start(function))
                    busy[-1].give(given)
                if not busy:
                    return
                raise_if_asked()
                for worker in _ready(busy):
                    busy.remove(worker)
                    given, reply = worker.given, worker.reply()
                    if not reply.is_lost:
                        idle.append(worker)
                        yield reply.outcome(given.item)
                    elif given.num_attempts < MAX_ATTEMPTS:
                        lost.append(_Given(given.item, given.num_attempts + 1))
                    else:
                        yield Outcome(given.item, error=gave_up())
        finally:
            for worker in (*idle, *busy):
                worker.stop()

    def _start(self, function: Callable[[Any], Any]) -> _Worker:
        with threads_of_workers(self.num_threads):
            return _Worker(function)


@dataclass(frozen=True, slots=True)
class _Given:
    item: Any
    num_attempts: int = 1


def _taken(lost: list[_Given]) -> Iterator[_Given]:
    if lost:
        yield lost.pop(0)


class _Worker:
    """A process, the pipe to it, and the item that it has."""

    given: _Given

    def __init__(self, function: Callable[[Any], Any]):
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function), daemon=False)
        # Ctrl-C at a terminal is for this process alone, which says what is to become of its workers.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that the pipe ends when the process does

    @property
    def pipe(self) -> Connection:
        return self._pipe

    def give(self, given: _Given) -> None:
        self.given = given
        try:
            self._pipe.send(given.item)
        except OSError:  # it has died: its pipe is at its end, and `reply` says so
            return

    def reply(self) -> Reply:
        """Of a worker whose pipe is ready."""
        try:
            reply: Reply = self._pipe.recv()
        except (EOFError, OSError):
            reply = Reply(is_lost=True)
        if reply.is_lost:
            self.stop()
        return reply

    def stop(self) -> None:
        """Ask it to put down what it does, and wait until it has; one that does nothing sees its pipe end."""
        if self._process.is_alive():
            self._process.terminate()
        self._pipe.close()
        self._process.join()


def _ready(workers: list[_Worker]) -> list[_Worker]:
    ready = waiting.wait([worker.pipe for worker in workers], POLL_SECONDS)
    return [worker for worker in workers if worker.pipe in ready]


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """The worker: item after item, until it is lost or there are no more."""
    os.setpgid(0, 0)  # nor are signals to the whole group for it, a second one after which would leave at once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            item = pipe.recv()
            reply = attempt(function, item)
            pipe.send(reply)
        except (EOFError, OSError):
            return
        if reply.is_lost:
            return


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    waiting.wait([parent.sentinel])
    os._exit(1)


@contextmanager
def threads_of_workers(number: int) -> Iterator[None]:
    """The environment for processes that start within; what the user has set holds."""
    added = {name: str(number) for name in THREADS if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
