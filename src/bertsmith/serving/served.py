"""What a server serves: models by name, and what stands beside them; and how one request reaches a model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Protocol, TypeVar

from pydantic import TypeAdapter

from bertsmith.data.batch import Truncation, Window
from bertsmith.errors import BertsmithError, DataError, SettingsError, nearest
from bertsmith.inference.predictor import Predictor
from bertsmith.serving.bodies import check_texts, shown
from bertsmith.serving.engine import Engine, Job
from bertsmith.serving.errors import invalid, not_found, too_large, too_late
from bertsmith.serving.limits import LimitSettings
from bertsmith.serving.measures import Measures

T = TypeVar("T")

INLINE_CHARACTERS = 20_000
"""Of a request that is tokenized in the event loop; a longer one is in a thread, so that others are not held up."""


@dataclass(frozen=True)
class Served:
    """A model under its name.

    reopen: loads it anew, in fp32 and with an encoder of its own, for explanations; None: `predictor` is such a one.
    """

    name: str
    predictor: Predictor
    reopen: Callable[[], Predictor] | None = None

    @property
    def task_name(self) -> str:
        return self.predictor.task.name

    @cached_property
    def answer(self) -> TypeAdapter[Any]:
        """Predictions as JSON."""
        return TypeAdapter(list[self.predictor.task.Prediction])  # type: ignore[name-defined]

    @cached_property
    def explained_by(self) -> Predictor:
        """The model as explanations need it; loaded when the first is asked for, and kept."""
        return self.predictor if self.reopen is None else self.reopen()

    @cached_property
    def identity(self) -> dict[str, str]:
        """What every answer says of the model."""
        return {"name": self.name, "task": self.task_name, "sha256": self.predictor.sha256}

    def description(self) -> dict[str, Any]:
        """For people and pages: what it is asked, and what it may answer."""
        task = self.predictor.task
        labels = task.labels()
        return {
            **self.identity,
            "labels": None if labels is None else list(labels),
            "fields": [part.name for part in fields(task.Request)],
            "pairs": getattr(task.settings, "pairs", None),
            "multi_label": getattr(task.settings, "problem_type", None) == "multi_label",
            "max_length": getattr(task.settings, "max_length", None),
            "embeds": self.predictor.embeds,
        }


@dataclass(frozen=True)
class Outcome:
    """predictions: one an input. queue_seconds, inference_seconds: before its first batch began, and after."""

    predictions: list[Any]
    truncation: Truncation
    num_tokens: int
    queue_seconds: float
    inference_seconds: float


class Keeps(Protocol):
    """Hears of every answered request: for those that a model was unsure of."""

    def offer(
        self, model: str, sha256: str, task: Any, requests: Sequence[Any], predictions: Sequence[Any]
    ) -> None: ...


@dataclass(frozen=True)
class House:
    """Everything that the routes need. searchers, answerers: by the index's name. converses: the dialogue, if any."""

    models: Mapping[str, Served]
    engine: Engine
    limits: LimitSettings
    measures: Measures
    searchers: Mapping[str, Any] = field(default_factory=dict)
    answerers: Mapping[str, Any] = field(default_factory=dict)
    converses: Any = None
    keeps: Keeps | None = None

    def model(self, name: object, task: str | None = None) -> Served:
        """By its name, or the first one that fits; task: what it has to be for."""
        fitting = [one for one in self.models.values() if task is None or _fits(one, task)]
        if name is None:
            if not fitting:
                raise not_found(f"no model for {task} is served here")
            return fitting[0]
        if not isinstance(name, str) or name not in self.models:
            raise not_found(f"no model {shown(name)} is served here; {nearest(str(name), self.models)}")
        found = self.models[name]
        if found not in fitting:
            raise invalid(f"the model {name!r} is for {found.task_name}, this route needs one for {task}")
        return found

    def beside(self, kind: str, found: Mapping[str, Any], name: object) -> tuple[str, Any]:
        """A searcher or an answerer by its index's name, or the first one."""
        if not found:
            raise not_found(f"this server has no {kind}")
        if name is None:
            return next(iter(found.items()))
        if not isinstance(name, str) or name not in found:
            raise not_found(f"no index {shown(name)} here; {nearest(str(name), found)}")
        return name, found[name]

    def requests(self, served: Served, inputs: Sequence[Any]) -> list[Any]:
        """Each input as the task's `Request`; the first that is none is refused with its place."""
        read = []
        for place, value in enumerate(inputs):
            check_texts(value, self.limits, place)
            try:
                read.append(served.predictor.task.request(value, f"input {place}"))
            except DataError as error:
                raise invalid(str(error), place) from None
        return read

    async def answer(self, served: Served, requests: Sequence[Any], deadline: float | None = None) -> Outcome:
        """What the model says of each request, in their order. deadline: by the monotonic clock."""
        deadline = time.monotonic() + self.limits.deadline_seconds if deadline is None else deadline
        encoded = await self.encoded(served, requests)
        windows = [window for row in encoded for window in row]
        num_tokens = sum(window.num_tokens for window in windows)
        if num_tokens > self.limits.max_tokens_per_request:
            raise too_large(f"{num_tokens:,} tokens, at most {self.limits.max_tokens_per_request:,} are taken at once")
        job = Job(served.predictor, windows, deadline)
        found = await _in_time(self.engine.submit(job), deadline)
        parts = iter(found)
        rows = [[next(parts) for _ in row] for row in encoded]
        predictions = [
            served.predictor.merge(request, row, own) for request, row, own in zip(requests, encoded, rows, strict=True)
        ]
        truncation = Truncation.of(encoded)
        self._count(served, len(requests), num_tokens, truncation)
        if self.keeps is not None:
            self.keeps.offer(served.name, served.predictor.sha256, served.predictor.task, requests, predictions)
        return Outcome(predictions, truncation, num_tokens, job.began - job.queued, job.ended - job.began)

    async def done(self, work: Callable[[], T], deadline: float, kind: str = "search") -> T:
        """What `work` returns, done in the inference thread between batches; a user's mistake in it becomes a 422.

        A file of the server's that is damaged or cannot be written is none, and its path is not for clients: a 500.
        """
        try:
            return await _in_time(self.engine.call(work, deadline, kind), deadline)
        except (DataError, SettingsError) as error:
            raise invalid(str(error)) from None

    async def encoded(self, served: Served, requests: Sequence[Any]) -> list[list[Window]]:
        """The windows of each request; what is wrong with one becomes a 422."""
        predictor = served.predictor

        def encode() -> list[list[Window]]:
            return [predictor.encode(request, 0, number) for number, request in enumerate(requests)]

        num_characters = sum(len(text) for request in requests for text in predictor.task.texts(request))
        try:
            return await unless_long(num_characters, encode)
        except BertsmithError as error:
            raise invalid(str(error)) from None

    def _count(self, served: Served, num_inputs: int, num_tokens: int, truncation: Truncation) -> None:
        self.measures.inputs.labels(served.name).inc(num_inputs)
        self.measures.tokens.labels(served.name).inc(num_tokens)
        if truncation.num_cut_examples:
            self.measures.cut.labels(served.name).inc(truncation.num_cut_examples)


async def unless_long(num_characters: int, work: Callable[[], T]) -> T:
    """What `work` makes of so many characters: at once, or in a thread where they are many and would hold up others."""
    return work() if num_characters <= INLINE_CHARACTERS else await asyncio.to_thread(work)


async def _in_time(computing: Future[T], deadline: float) -> T:
    """A result of the inference thread. Raises `RefusedRequestError` where it is not there by the deadline."""
    result = asyncio.wrap_future(computing)
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            return await result
    except TimeoutError:
        raise too_late() from None
    except asyncio.CancelledError:
        # The inference thread gives up what is late, which may be heard of before the time is out here.
        if result.cancelled() and time.monotonic() > deadline:
            raise too_late() from None
        raise


def _fits(served: Served, task: str) -> bool:
    return served.predictor.embeds if task == "embedding" else served.task_name == task
