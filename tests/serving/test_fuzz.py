"""Whatever is sent, the server answers with less than 500, says what is wrong in JSON, and keeps its memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from served import Served, raw_request, served, toy_artifacts
from toy_search import DOCUMENTS
from toys import toy_task, toy_tokenizer

from bertsmith.search.encoder import TextEncoder
from bertsmith.search.index import Index

pytest.importorskip("fastapi", reason="extra `serve`")
schemathesis = pytest.importorskip("schemathesis", reason="extra `dev`")

EXAMPLES = 12
"""A route and kind of generation; the whole of it takes some ten seconds."""
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Every task's toy model, an index with a reader, and an assistant that answers from it."""
    folder = tmp_path_factory.mktemp("serve")
    models = {model.name: model for model in toy_artifacts(folder)}
    encoder, reader = TextEncoder.load(models["embedding"], device="cpu"), models["question_answering"]
    with closing(Index.create(folder / "docs", toy_tokenizer(), encoder, models["embedding"])) as index:
        index.upsert(DOCUMENTS, encoder)
    assistant = folder / "assistant.json"
    assistant.write_text(json.dumps({"index": "docs", "reader": reader.name}))
    beside = ["--index", folder / "docs", "--reader", reader, "--assistant", assistant]
    with served([*models.values(), *beside], folder / "log") as server:
        yield server


def check(status: int, body: bytes) -> None:
    assert status < 500, body[:500]
    if status >= 400 and body:
        error = json.loads(body)["error"]
        assert {"type", "message"} <= error.keys()
        assert error["message"]


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_requests_made_from_the_description_of_the_routes(server: Served, mode: str) -> None:
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 10
    generation = schemathesis.GenerationMode(mode)
    cases = st.sampled_from(operations).flatmap(lambda operation: operation.as_strategy(generation_mode=generation))
    statuses: set[int] = set()

    @seed(0)
    @settings(
        max_examples=EXAMPLES * len(operations),
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        answer = case.call(timeout=20)
        if answer.status_code != 504 or "deadline_ms" not in case.body:  # that is what a client asked for
            check(answer.status_code, answer.content)
        statuses.add(answer.status_code)

    ask()
    assert statuses & {200} if mode == "positive" else statuses & {400, 404, 415, 422}


PREDICT = "/v1/models/token_classification/predict"
BAD_BODIES = {
    "no JSON": b"{",
    "nothing": b"",
    "NaN": b'{"inputs": [NaN]}',
    "deep": b"[" * 100_000,
    "deep within": b'{"inputs": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "a long number": b'{"inputs": [' + b"9" * 5000 + b"]}",
    "UTF-16": '{"inputs": ["ba"]}'.encode("utf-16"),
    "no UTF-8": b'{"inputs": ["\xff\xfe"]}',
    "a lone surrogate": b'{"inputs": ["\\ud800"]}',
    "no list": b'{"inputs": "ba"}',
    "an empty batch": b'{"inputs": []}',
    "another type": b'{"inputs": [{"text": 1}]}',
    "an unknown field": b'{"inputs": [{"txet": "ba"}]}',
    "a deadline of no number": b'{"inputs": ["ba"], "deadline_ms": "soon"}',
    "a million items": b'{"inputs": [' + b'"",' * 999_999 + b'""]}',
    "combining marks": json.dumps({"inputs": ["a" + "\u0301" * 300_000]}).encode(),
    "growing characters": json.dumps({"inputs": ["\ufdfa" * 20_000]}).encode(),
    "NUL": b'{"inputs": ["a\\u0000b"]}',
}
MAY_BE_ANSWERED = {"NUL", "growing characters", "combining marks", "an empty batch"}


@pytest.mark.parametrize("name", list(BAD_BODIES))
def test_bad_bodies(server: Served, name: str) -> None:
    answer = server.ask("POST", PREDICT, BAD_BODIES[name])
    check(answer.status, answer.body)
    assert answer.status in (400, 413, 415, 422) or (name in MAY_BE_ANSWERED and answer.status == 200), answer


BAD_FILTERS: dict[str, Any] = {
    "a number of thirty digits": {"year": 10**30},
    "a border of thirty digits": {"year": {"lt": -(10**30)}},
    "thousands of names": {f"name {number}": 1 for number in range(3_000)},
    "half a million values": {"year": [1] * 500_000},
    "nothing": {"year": None},
}


BAD_TARGETS = {
    "classification": "\0",
    "embedding": "negatives " + "9" * 5_000,
    "multiple_choice": "9" * 5_000,
    "pretraining": "9" * 5_000 + "=",
    "question_answering": "1" * 5_000 + "-2",
    "reranking": "\u00b2",
    "seq2seq": "9" * 5_000,
    "token_classification": "9" * 5_000 + "=O",
}


@pytest.mark.parametrize("name", list(BAD_TARGETS))
def test_bad_targets_of_explanations(server: Served, name: str) -> None:
    request = toy_task(name).requests[1]
    record = {field: value for field, value in asdict(request).items() if value is not None}
    answer = server.post(f"/v1/models/{name}/explain", {"input": record, "target": BAD_TARGETS[name]})
    check(answer.status, answer.body)
    assert answer.status == 422, answer


@pytest.mark.parametrize("path", ["/search", "/ask"])
@pytest.mark.parametrize("name", list(BAD_FILTERS))
def test_bad_filters(server: Served, path: str, name: str) -> None:
    answer = server.post(path, {"query" if path == "/search" else "question": "ba", "filters": BAD_FILTERS[name]})
    check(answer.status, answer.body)
    assert answer.status == 422
    assert b"sqlite" not in answer.body, "where the server's files lie is not for clients"


def test_odd_filters_find_nothing(server: Served) -> None:
    assert server.post("/search", {"query": "ba", "filters": {"year": "\0"}}).json()["hits"] == []
    for name in ("", "a\0b", '"', "$.year", "year" * 10_000):
        answer = server.post("/search", {"query": "ba", "filters": {name: "\0"}})
        assert (answer.status, b"no document has this fact" in answer.body) == (422, True)
        assert len(answer.body) < 1_000


def test_a_long_question_is_refused_before_it_holds_up_the_others(server: Served) -> None:
    for path, name in {"/search": "query", "/ask": "question", "/chat": "text"}.items():
        assert server.post(path, {name: "ba " * 3_000}).status == 200
        assert server.post(path, {name: "ba " * 300_000}).status == 413


def test_the_bad_item_is_named(server: Served) -> None:
    answer = server.post(PREDICT, {"inputs": ["ba", "be", {"text": None}]})
    assert answer.status == 422
    assert answer.json()["error"]["index"] == 2


def test_a_body_that_says_it_is_huge_is_refused_unread(server: Served) -> None:
    with server.connect() as connection:
        head = (
            f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {2**40}\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(100).split()[1] == b"413"


def test_a_huge_body_in_chunks_is_cut_off(server: Served) -> None:
    before = server.memory_mib()
    with server.connect() as connection:
        connection.sendall(raw_request(PREDICT, "Transfer-Encoding: chunked"))
        chunk = b"100000\r\n" + b'"' * MEBIBYTE + b"\r\n"
        try:
            for _ in range(200):
                connection.sendall(chunk)
        except OSError:
            pass  # the server has closed it
        else:
            assert connection.recv(100).split()[1] == b"413"
    assert server.memory_mib() - before < 100
    assert server.ask("GET", "/readyz").status == 200


def test_memory_stays_flat_over_thousands_of_bad_requests(server: Served) -> None:
    bodies = [body for name, body in BAD_BODIES.items() if name not in MAY_BE_ANSWERED and len(body) < MEBIBYTE]
    bodies += [json.dumps({"inputs": ["ba"] * 3 + [number]}).encode() for number in range(50)]

    def ask(num: int) -> None:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
        for number in range(num):
            connection.request("POST", PREDICT, bodies[number % len(bodies)], {"Content-Type": "application/json"})
            answer = connection.getresponse()
            check(answer.status, answer.read())
        connection.close()

    ask(300)
    before = server.memory_mib()
    ask(1700)
    assert server.memory_mib() - before < 32
    assert server.post(PREDICT, {"inputs": ["ba be"]}).status == 200


def test_no_text_is_in_the_log(server: Served, tmp_path: Path) -> None:
    assert server.post(PREDICT, {"inputs": ["ba confidential be"]}).status == 200
    server.post(PREDICT, {"inputs": [{"txet": "ba confidential be"}]})
    assert "confidential" not in server.log.read_text(encoding="utf-8")
