"""The inference threads and the queue before them: windows of many requests, put together by a budget of tokens.

Requests take turns, so that a long one does not hold up short ones; while batches are computed the next one gathers.
Two are computed at a time, each by half of the cores: what lies between the products, in Python, leaves none idle. One
that is alone has all of them. What is given up, late or abandoned, leaves the queue. Knows no HTTP.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

import torch

from bertsmith.data.batch import Window
from bertsmith.inference.predictor import Predictor
from bertsmith.inference.together import Asked, encoder_of, parts_together
from bertsmith.serving.errors import overloaded
from bertsmith.serving.limits import BatchSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

SHARES = 4
"""The part of a batch that one request may take while others wait, as one over this."""
RATE_WEIGHT = 0.2
"""Of the newest batch in the running mean of tokens a second, and of the newest call in that of seconds a call."""


@dataclass(eq=False)
class Job:
    """The windows of one request. result: its parts, in order. queued, began, ended: by the monotonic clock."""

    predictor: Predictor
    windows: Sequence[Window]
    deadline: float
    result: Future[list[Any]] = field(default_factory=Future)
    queued: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    next_window: int = 0
    num_done: int = 0
    parts: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parts = [None] * len(self.windows)
        self.num_tokens = sum(window.num_tokens for window in self.windows)

    @property
    def is_given_up(self) -> bool:
        return self.result.done() or time.monotonic() > self.deadline

    def take(self, share: int, room: int) -> list[int]:
        """Places of its next windows: one that fits into `room` tokens, and more while they are within its share."""
        taken: list[int] = []
        size = 0
        while self.next_window < len(self.windows):
            size += self.windows[self.next_window].num_tokens
            if size > (share if taken else room):
                break
            taken.append(self.next_window)
            self.next_window += 1
        return taken


@dataclass(eq=False)
class Call(Generic[T]):
    """Something else to do in the first of the inference threads: a search, say. kind: of what takes as long."""

    work: Callable[[], T]
    deadline: float
    kind: str
    result: Future[T] = field(default_factory=Future)


@dataclass(frozen=True)
class Taken:
    """What of a job goes into the next batch."""

    job: Job
    places: list[int]


class Engine:
    """The threads that compute, and their queue. on_batch: hears of each batch its tokens, windows and seconds."""

    def __init__(
        self,
        batch: BatchSettings,
        max_queue_seconds: float,
        on_batch: Callable[[int, int, float], None] = lambda tokens, windows, seconds: None,
    ):
        self.batch, self.max_queue_seconds, self.on_batch = batch, max_queue_seconds, on_batch
        self.waiting_tokens = 0
        self.num_abandoned = 0
        self._tokens_per_second = 10_000.0
        self._seconds_per_call: defaultdict[str, float] = defaultdict(lambda: 0.05)
        self._queues: dict[int, deque[Job]] = {}
        self._turns: deque[int] = deque()
        self._calls: deque[Call[Any]] = deque()
        self._changed = Condition()
        self._is_closed = False
        self._num_cores = torch.get_num_threads()
        self._num_busy = 0
        number = batch.num_batches or min(2, self._num_cores)
        self._threads = [
            Thread(target=self._work, args=(place == 0,), name=f"inference-{place}", daemon=True)
            for place in range(number)
        ]
        for thread in self._threads:
            thread.start()

    # From outside

    def submit(self, job: Job) -> Future[list[Any]]:
        """Its parts, some time. Raises `RefusedRequestError` where too much waits already."""
        with self._changed:
            seconds = self.waiting_tokens / self._tokens_per_second
            if seconds > self.max_queue_seconds:
                raise overloaded(f"{self.waiting_tokens:,} tokens wait for the model; try again later", seconds)
            job.queued = time.monotonic()
            if not job.windows:
                job.result.set_result([])
                return job.result
            self.waiting_tokens += job.num_tokens
            group = _group(job.predictor)
            queue = self._queues.setdefault(group, deque())
            if not queue:
                self._turns.append(group)
            queue.append(job)
            self._changed.notify_all()
        return job.result

    def call(self, work: Callable[[], T], deadline: float, kind: str = "search") -> Future[T]:
        """What `work` returns, done between two batches. Raises `RefusedRequestError` where too many wait already.

        kind: how long one takes is known of each by itself, so that a slow explanation makes no search look slow.
        """
        call = Call(work, deadline, kind)
        with self._changed:
            seconds = sum(self._seconds_per_call[waiting.kind] for waiting in self._calls)
            if seconds > self.max_queue_seconds:
                raise overloaded(
                    f"{len(self._calls):,} searches, questions and explanations wait; try again later", seconds
                )
            self._calls.append(call)
            self._changed.notify_all()
        return call.result

    def close(self) -> None:
        """What waits is still answered; returns when the threads have ended."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether all threads still compute."""
        return all(thread.is_alive() for thread in self._threads)

    # In the threads

    def _work(self, is_first: bool) -> None:
        """is_first: whether this is the thread for calls, which are done by one, as an index wants it."""
        while True:
            with self._changed:
                was_idle = not (self._turns or self._calls)
                while not (self._turns or (is_first and self._calls) or self._is_closed):
                    self._changed.wait()
                if was_idle and self.batch.wait_milliseconds and not self._is_closed:
                    self._gather()
                call = self._calls.popleft() if is_first and self._calls else None
                taken = self._take() if self._turns else []
                if call is None and not taken and self._is_closed and not self._turns:
                    return
                self._num_busy += bool(taken)
                is_alone = self._num_busy == 1 and not self._turns
            if call is not None:
                self._answer(call)
            if taken:
                if len(self._threads) > 1:
                    torch.set_num_threads(
                        self._num_cores if is_alone else max(1, self._num_cores // len(self._threads))
                    )
                self._compute(taken)
                with self._changed:
                    self._num_busy -= 1

    def _gather(self) -> None:
        """Waits a little for more than the first request."""
        end = time.monotonic() + self.batch.wait_milliseconds / 1000
        while self.waiting_tokens < self.batch.max_tokens_per_batch and (left := end - time.monotonic()) > 0:
            self._changed.wait(left)

    def _take(self) -> list[Taken]:
        """The next batch, of the group whose turn it is: a share from each request in turn, until it is full."""
        group = self._turns.popleft()
        queue = self._queues[group]
        room = self.batch.max_tokens_per_batch
        taken: list[Taken] = []
        tried = 0
        while queue and room > 0 and tried < len(queue):
            job = queue.popleft()
            if job.is_given_up:
                self._leave(job)
                continue
            share = min(room, self.batch.max_tokens_per_batch // SHARES) if queue else room
            # A window longer than any batch is one by itself.
            places = job.take(share, room if taken else max(room, job.windows[job.next_window].num_tokens))
            tried = 0 if places else tried + 1
            if places:
                job.began = job.began or time.monotonic()
                taken.append(Taken(job, places))
                room -= sum(job.windows[place].num_tokens for place in places)
            if job.next_window < len(job.windows):
                queue.append(job)
        if queue:
            self._turns.append(group)
        return taken

    def _leave(self, job: Job) -> None:
        """A job that nobody waits for any more."""
        self.num_abandoned += 1
        self.waiting_tokens -= sum(window.num_tokens for window in job.windows[job.next_window :])
        job.result.cancel()

    def _compute(self, taken: Sequence[Taken]) -> None:
        started = time.monotonic()
        num_tokens = sum(one.job.windows[place].num_tokens for one in taken for place in one.places)
        try:
            self._fill(taken)
        except Exception:
            # One of them is at fault: each alone, so that the others do not suffer for it.
            for one in taken:
                try:
                    self._fill([one])
                except Exception as error:
                    log.exception("a batch of one request failed")
                    _fail(one.job, error)
        ended = time.monotonic()
        seconds = ended - started
        with self._changed:
            rate = num_tokens / max(seconds, 1e-6) * self._num_busy
            self._tokens_per_second += RATE_WEIGHT * (rate - self._tokens_per_second)
            self.waiting_tokens -= num_tokens
            whole = []
            for job in {id(one.job): one.job for one in taken}.values():
                if job.num_done == len(job.windows) and not job.ended:
                    job.ended = ended
                    whole.append(job)
        self.on_batch(num_tokens, sum(len(one.places) for one in taken), seconds)
        for job in whole:
            if not job.result.done() and job.result.set_running_or_notify_cancel():
                job.result.set_result(job.parts)

    def _answer(self, call: Call[Any]) -> None:
        if time.monotonic() > call.deadline or not call.result.set_running_or_notify_cancel():
            call.result.cancel()
            return
        started = time.monotonic()
        try:
            call.result.set_result(call.work())
        except Exception as error:
            call.result.set_exception(error)
        known = self._seconds_per_call[call.kind]
        self._seconds_per_call[call.kind] += RATE_WEIGHT * (time.monotonic() - started - known)

    def _fill(self, taken: Sequence[Taken]) -> None:
        """Computes the windows, in one pass for all that share an encoder, and puts their parts into the jobs."""
        by_predictor: dict[int, list[Taken]] = {}
        for one in taken:
            by_predictor.setdefault(id(one.job.predictor), []).append(one)
        groups = list(by_predictor.values())
        found = parts_together(
            [
                Asked(group[0].job.predictor, [one.job.windows[place] for one in group for place in one.places])
                for group in groups
            ]
        )
        for group, parts in zip(groups, found, strict=True):
            rest = iter(parts)
            for one in group:
                for place in one.places:
                    one.job.parts[place] = next(rest)
                with self._changed:
                    one.job.num_done += len(one.places)


def _group(predictor: Predictor) -> int:
    """Jobs of one group can be computed in one pass."""
    shared = encoder_of(predictor)
    return id(predictor if shared is None else shared)


def _fail(job: Job, error: Exception) -> None:
    if not job.result.done() and job.result.set_running_or_notify_cancel():
        job.result.set_exception(error)
