"""Clients that go away or dawdle, and a server that is told to stop or is killed, while many ask."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, raw_request, served
from toy_models import toy_bert, toy_classifier, toy_reviews
from toys import toy_text

from bertsmith.inference.predictor import load
from bertsmith.serving.uncertain import read_kept

pytest.importorskip("fastapi", reason="extra `serve`")

PREDICT = "/v1/models/model/predict"
NUM_CLIENTS = 8
NUM_IDLE = 1_000
MOST_KEPT_MIB = 5
"""After three more rounds of so many connections; they would hold twice that if none was ever let go."""
SPARE_FILES = 10
"""Of connections that are just being closed."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    train = toy_reviews(folder / "train.csv", 80, seed=0)
    toy_classifier(folder / "model", train, model=str(toy_bert(folder / "bert")), max_steps=10)
    return folder


@pytest.fixture(scope="module")
def server(house: Path) -> Iterator[Served]:
    with served([house / "model"], house / "log") as server:
        yield server


@pytest.fixture(scope="module")
def known(house: Path) -> dict[str, float]:
    """Texts and the score that the model gives them, computed here."""
    rng = np.random.default_rng(0)
    texts = [toy_text(rng, int(rng.integers(1, 30))) for _ in range(200)]
    predictions = load(house / "model").predict(texts)
    return {text: float(prediction.score) for text, prediction in zip(texts, predictions, strict=True)}


def body(*texts: str) -> bytes:
    return json.dumps({"inputs": texts}).encode()


def is_right(answer: dict[str, Any], texts: list[str], known: dict[str, float]) -> bool:
    given = [prediction["score"] for prediction in answer["predictions"]]
    return given == pytest.approx([known[text] for text in texts], abs=0.02)


def test_everybody_gets_the_answer_to_their_own_question(server: Served, known: dict[str, float]) -> None:
    texts = list(known)

    def ask(place: int) -> bool:
        mine = texts[place : place + 1 + place % 5]
        answer = server.ask("POST", PREDICT, body(*mine))
        return answer.status == 200 and is_right(answer.json(), mine, known)

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        assert all(pool.map(ask, range(190)))


def test_clients_that_go_away_in_mid_batch_take_nobody_with_them(server: Served, known: dict[str, float]) -> None:
    texts = list(known)
    request = _raw(body(*texts))

    def leave(_: int) -> None:
        with server.connect() as connection:
            connection.sendall(request)

    def ask(place: int) -> bool:
        answer = server.ask("POST", PREDICT, body(texts[place]))
        return answer.status == 200 and is_right(answer.json(), [texts[place]], known)

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        leaving = [pool.submit(leave, place) for place in range(40)]
        assert all(pool.map(ask, range(40)))
        for done in leaving:
            done.result()
    assert server.ask("GET", "/readyz").status == 200


def test_slow_clients_are_not_waited_for(server: Served, known: dict[str, float]) -> None:
    text = next(iter(known))
    with ExitStack() as stack:
        slow = [stack.enter_context(server.connect()) for _ in range(200)]
        for connection in slow:
            connection.sendall(_raw(body(text))[:40])
        for place in range(20):
            for connection in slow[place * 10 : place * 10 + 10]:
                connection.sendall(b"x")
            assert server.ask("POST", PREDICT, body(text)).status == 200
        readers = [stack.enter_context(server.connect()) for _ in range(20)]
        for connection in readers:  # they ask and do not read
            connection.sendall(_raw(body(*known)))
        assert server.ask("POST", PREDICT, body(text)).status == 200


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * NUM_IDLE, reason="too few open files allowed")
def test_a_thousand_idle_connections_hold_up_nobody_and_leave_nothing(
    house: Path, known: dict[str, float], tmp_path: Path
) -> None:
    text = next(iter(known))

    def ask() -> None:
        answer = server.ask("POST", PREDICT, body(text))
        assert (answer.status, is_right(answer.json(), [text], known)) == (200, True)

    with served([house / "model"], tmp_path / "log") as server:
        ask()
        before, memory = server.num_open_files(), []
        for _ in range(4):
            with ExitStack() as stack:
                for _ in range(NUM_IDLE):
                    stack.enter_context(server.connect())
                ask()  # after all of them were accepted, as that is done in their order
                assert server.num_open_files() > before + NUM_IDLE - SPARE_FILES
                ask()
            until = time.monotonic() + 60
            while server.num_open_files() > before + SPARE_FILES and time.monotonic() < until:
                time.sleep(0.1)
            assert server.num_open_files() <= before + SPARE_FILES
            memory.append(server.memory_mib())
        assert memory[-1] - memory[0] < MOST_KEPT_MIB, memory
        assert "Traceback" not in server.log.read_text()


def test_sigterm_under_load_answers_what_was_accepted(house: Path, known: dict[str, float], tmp_path: Path) -> None:
    texts = list(known)
    with served([house / "model"], tmp_path / "log") as server:
        sent: list[tuple[list[str], int, bytes]] = []

        def ask(place: int) -> bool:
            """Whether there was an answer; a half one raises."""
            mine = texts[place % 150 : place % 150 + 40]
            try:
                answer = server.ask("POST", PREDICT, body(*mine))
            except (ConnectionError, TimeoutError):
                return False
            sent.append((mine, answer.status, answer.body))
            return True

        def keep_asking(first: int) -> int:
            place = first
            while ask(place):
                place += NUM_CLIENTS
            return place

        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            asking = [pool.submit(keep_asking, number) for number in range(NUM_CLIENTS)]
            time.sleep(1)
            server.process.send_signal(signal.SIGTERM)
            for done in asking:
                done.result(timeout=30)
        assert server.process.wait(30) == 0
        assert {status for _, status, _ in sent} <= {200, 503}
        answered = [(mine, json.loads(content)) for mine, status, content in sent if status == 200]
        assert answered
        assert all(is_right(answer, mine, known) for mine, answer in answered)
        assert "Traceback" not in server.log.read_text()


def test_sigterm_loses_nothing_that_was_accepted(house: Path, known: dict[str, float], tmp_path: Path) -> None:
    texts = list(known)
    with served([house / "model", "--max-queue-seconds", "60"], tmp_path / "log") as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(NUM_CLIENTS)]
        for connection in connections:
            connection.sendall(_raw(body(*texts * 5)))
        # Connections are accepted in the order in which they were made: all of the above are in when this one is.
        assert server.ask("GET", "/readyz").status == 200
        server.process.send_signal(signal.SIGTERM)
        for connection in connections:
            answer = HTTPResponse(connection)
            answer.begin()
            assert answer.status == 200
            assert is_right(json.loads(answer.read()), texts * 5, known)
        assert server.process.wait(30) == 0


def test_killed_under_load_it_leaves_whole_lines_and_starts_again(
    house: Path, known: dict[str, float], tmp_path: Path
) -> None:
    texts, kept = list(known), tmp_path / "kept.jsonl"
    options = [house / "model", "--keep-uncertain", kept, "--uncertain-below", "0.99", "--keep-texts"]

    def keep_asking(server: Served) -> int:
        num = 0
        try:
            while True:
                num += server.ask("POST", PREDICT, body(*texts[:20])).status == 200
        except (OSError, HTTPException):
            return num

    with served(options, tmp_path / "log") as server, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking, server) for _ in range(4)]
        time.sleep(1)
        server.process.send_signal(signal.SIGKILL)
        num_answered = sum(done.result(timeout=30) for done in asking)
    lines = kept.read_bytes()
    assert num_answered
    with served(options, tmp_path / "log") as server:
        assert server.ask("POST", PREDICT, body(texts[0])).status == 200
    found = read_kept(kept)
    assert lines.startswith(kept.read_bytes()[: lines.rfind(b"\n") + 1])
    unsure = [text for text in texts[:20] if known[text] < 0.98]
    assert unsure
    assert {line.request["text"] for line in found if line.request} >= set(unsure)


def _raw(content: bytes) -> bytes:
    return raw_request(PREDICT, f"Content-Length: {len(content)}") + content
