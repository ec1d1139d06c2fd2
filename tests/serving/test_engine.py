"""The inference thread: what it puts together, whom it lets wait, what it gives up, and one pass for several models."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from near import assert_near
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact
from bertsmith.data.batch import Window
from bertsmith.inference.predictor import Predictor
from bertsmith.inference.together import encoder_of, predictors_of
from bertsmith.serving.engine import Engine, Job
from bertsmith.serving.errors import RefusedRequestError
from bertsmith.serving.limits import BatchSettings

NAMES = ("classification", "token_classification", "question_answering")


class Gate(torch.nn.Module):
    """A network that waits until it may compute, and remembers how many sequences each pass had."""

    def __init__(self, network: Any):
        super().__init__()
        self.network, self.encoder, self.config = network, network.encoder, network.config
        self.is_open, self.has_begun = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def forward(self, packed: Any, *rest: Any) -> Any:
        self.sizes.append(len(packed.lengths))
        self.has_begun.set()
        assert self.is_open.wait(30)
        return self.network(packed, *rest)


def toy_predictor(name: str = "classification") -> Predictor:
    torch.manual_seed(0)
    task = toy_task(name).task
    return Predictor(task, task.build(toy_config(initializer_range=0.5)).eval(), toy_tokenizer(), "fp32")


@pytest.fixture
def gated() -> tuple[Predictor, Gate]:
    predictor = toy_predictor()
    gate = Gate(predictor.network)
    return replace(predictor, network=gate), gate  # type: ignore[arg-type]


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(BatchSettings(max_tokens_per_batch=64, num_batches=1), max_queue_seconds=1.0)
    yield made
    made.close()


def windows(predictor: Predictor, numbers: Sequence[int] = range(8)) -> list[Window]:
    requests = toy_task(predictor.task.name).requests
    return [window for number in numbers for window in predictor.encode(requests[number])]


def job(predictor: Predictor, *numbers: int, seconds: float = 30.0) -> Job:
    return Job(predictor, windows(predictor, numbers), time.monotonic() + seconds)


def test_requests_gather_while_the_model_computes(engine: Engine, gated: tuple[Predictor, Gate]) -> None:
    predictor, gate = gated
    first = engine.submit(job(predictor, 0))
    assert gate.has_begun.wait(30)
    others = [engine.submit(job(predictor, number)) for number in (1, 2, 3)]
    gate.is_open.set()
    found = [result.result(30)[0] for result in (first, *others)]
    assert gate.sizes == [1, 3]
    alone = toy_predictor().parts_of(windows(predictor, range(4)))
    assert_near(found, alone)


def test_a_long_request_does_not_hold_up_a_short_one(engine: Engine, gated: tuple[Predictor, Gate]) -> None:
    predictor, gate = gated
    engine.submit(job(predictor, 0))
    assert gate.has_begun.wait(30)
    order: list[str] = []
    long = engine.submit(job(predictor, *[number % 8 for number in range(40)]))
    short = engine.submit(job(predictor, 1))
    long.add_done_callback(lambda _: order.append("long"))
    short.add_done_callback(lambda _: order.append("short"))
    gate.is_open.set()
    assert len(long.result(30)) == 40
    assert order == ["short", "long"]
    assert engine.waiting_tokens == 0


def test_what_is_given_up_leaves_the_queue(engine: Engine, gated: tuple[Predictor, Gate]) -> None:
    predictor, gate = gated
    running = engine.submit(job(predictor, 0))
    assert gate.has_begun.wait(30)
    abandoned = engine.submit(job(predictor, 1, 2))
    late = engine.submit(job(predictor, 3, seconds=-1.0))
    kept = engine.submit(job(predictor, 4))
    assert abandoned.cancel()
    gate.is_open.set()
    assert len(kept.result(30)) == len(running.result(30)) == 1
    assert gate.sizes == [1, 1], "what nobody waits for is not computed"
    assert late.cancelled()
    assert engine.num_abandoned == 2
    assert engine.waiting_tokens == 0


def test_more_than_can_be_done_in_time_is_refused(gated: tuple[Predictor, Gate]) -> None:
    predictor, gate = gated
    engine = Engine(
        BatchSettings(num_batches=1), max_queue_seconds=0.001
    )  # at the pace that is supposed at first: 10 tokens
    running = engine.submit(job(predictor, 0, 1, 2))
    with pytest.raises(RefusedRequestError) as refusal:
        engine.submit(job(predictor, 3))
    assert refusal.value.status == 503
    assert int(refusal.value.headers["Retry-After"]) >= 1
    gate.is_open.set()
    assert len(running.result(30)) == 3
    assert len(engine.submit(job(predictor, 3)).result(30)) == 1
    engine.close()


@pytest.mark.parametrize(
    ("slow_seconds", "kind", "num_taken"), [(0.0, "search", 2), (0.3, "search", 1), (0.3, "explanation", 2)]
)
def test_more_calls_than_can_be_done_in_time_are_refused(slow_seconds: float, kind: str, num_taken: int) -> None:
    """0.05 seconds are supposed for each at first; a slow one makes a mean of at least 0.1, of its own kind alone."""
    engine = Engine(BatchSettings(num_batches=1), max_queue_seconds=0.09)
    deadline = time.monotonic() + 60
    if slow_seconds:
        engine.call(lambda: time.sleep(slow_seconds), deadline, kind).result(30)
    has_begun, may_end = threading.Event(), threading.Event()

    def wait() -> bool:
        has_begun.set()
        return may_end.wait(30)

    running = engine.call(wait, deadline)
    assert has_begun.wait(30)
    waiting = [engine.call(lambda number=number: number, deadline) for number in range(num_taken)]  # type: ignore[misc]
    with pytest.raises(RefusedRequestError, match="questions and explanations wait") as refusal:
        engine.call(wait, deadline)
    assert refusal.value.status == 503
    assert int(refusal.value.headers["Retry-After"]) >= 1
    may_end.set()
    assert running.result(30)
    assert [result.result(30) for result in waiting] == list(range(num_taken))
    assert engine.call(lambda: "again", deadline).result(30) == "again"
    engine.close()


class Failing(torch.nn.Module):
    """A network that fails at sequences of one length."""

    def __init__(self, network: Any, length: int):
        super().__init__()
        self.network, self.encoder, self.config = network, network.encoder, network.config
        self.length = length

    def forward(self, packed: Any, *rest: Any) -> Any:
        if self.length in packed.lengths:
            raise RuntimeError("this one cannot be computed")
        return self.network(packed, *rest)


def test_a_request_that_fails_does_not_take_others_along(engine: Engine) -> None:
    whole = toy_predictor("token_classification")
    bad = windows(whole, [5])[0].num_tokens
    predictor = replace(whole, network=Failing(whole.network, bad))  # type: ignore[arg-type]
    blocked = threading.Event()
    engine.call(lambda: blocked.wait(30), time.monotonic() + 30)
    results = [engine.submit(job(predictor, number)) for number in (0, 5, 1)]
    blocked.set()
    assert len(results[0].result(30)) == len(results[2].result(30)) == 1
    with pytest.raises(RuntimeError, match="cannot be computed"):
        results[1].result(30)


def test_what_waits_is_answered_before_the_end(gated: tuple[Predictor, Gate]) -> None:
    predictor, gate = gated
    engine = Engine(BatchSettings(num_batches=1), max_queue_seconds=10.0)
    results = [engine.submit(job(predictor, number)) for number in range(4)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.is_open.set()
    closing.join(30)
    assert all(result.done() for result in results)
    assert not engine.is_alive


def test_two_batches_are_computed_at_a_time(gated: tuple[Predictor, Gate]) -> None:
    predictor, gate = gated
    engine = Engine(BatchSettings(max_tokens_per_batch=16, num_batches=2), max_queue_seconds=60.0)
    first = engine.submit(job(predictor, 0))
    assert gate.has_begun.wait(10)
    rest = [engine.submit(job(predictor, number)) for number in (1, 2)]
    deadline = time.monotonic() + 10
    while len(gate.sizes) < 2:  # none has come to its end
        assert time.monotonic() < deadline, "the second batch waits for the first"
        time.sleep(0.01)
    gate.is_open.set()
    plain = replace(predictor, network=gate.network)
    for number, future in zip((0, 1, 2), (first, *rest), strict=True):
        assert_near(future.result(30), plain.parts_of(windows(predictor, [number])))
    engine.close()
    assert engine.waiting_tokens == 0


def test_the_windows_of_one_request_may_be_in_two_batches_at_a_time() -> None:
    predictor = toy_predictor()
    engine = Engine(BatchSettings(max_tokens_per_batch=24, num_batches=2), max_queue_seconds=60.0)
    several = [job(predictor, *range(8)) for _ in range(20)]
    found = [future.result(30) for future in [engine.submit(one) for one in several]]
    engine.close()
    expected = predictor.parts_of(windows(predictor))
    for parts in found:
        assert_near(parts, expected)


def test_calls_are_done_by_one_thread_between_batches() -> None:
    engine = Engine(BatchSettings(num_batches=2), max_queue_seconds=60.0)
    names = {engine.call(lambda: threading.current_thread().name, time.monotonic() + 30).result(30) for _ in range(30)}
    engine.close()
    assert len(names) == 1


def test_models_with_one_encoder_share_its_pass() -> None:
    artifacts = []
    for name in NAMES:
        alone = toy_predictor(name)
        if artifacts:
            alone.network.encoder.load_state_dict(artifacts[0].network.encoder.state_dict())
        artifacts.append(Artifact(alone.task, alone.network, alone.tokenizer))
    expected = [Predictor.of(artifact, precision="fp32") for artifact in artifacts]
    expected_parts = [predictor.parts_of(windows(predictor)) for predictor in expected]
    shared = predictors_of(artifacts, precision="fp32")
    encoder = encoder_of(shared[0])
    assert encoder is not None
    assert all(encoder_of(predictor) is encoder for predictor in shared)
    engine = Engine(BatchSettings(num_batches=1), max_queue_seconds=10.0)
    blocked = threading.Event()
    engine.call(lambda: blocked.wait(30), time.monotonic() + 30)
    results = [engine.submit(job(predictor, *range(8))) for predictor in shared]
    blocked.set()
    for predictor, result, parts in zip(shared, results, expected_parts, strict=True):
        requests, found = toy_task(predictor.task.name).requests, result.result(30)
        for request, one, other in zip(requests, found, parts, strict=True):
            encoded = predictor.encode(request)
            assert_near(predictor.merge(request, encoded, [one]), predictor.merge(request, encoded, [other]))
    assert encoder.num_passes == 1
    engine.close()


def test_models_with_different_encoders_share_nothing() -> None:
    first, second = toy_predictor(), toy_predictor("token_classification")
    torch.nn.init.normal_(next(second.network.encoder.parameters()))
    artifacts = [Artifact(one.task, one.network, one.tokenizer) for one in (first, second)]
    assert [encoder_of(one) for one in predictors_of(artifacts, precision="fp32")] == [None, None]
