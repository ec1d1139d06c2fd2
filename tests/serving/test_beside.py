"""Indexes, answers and an assistant behind the server: what they say is what they say without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from near import assert_near
from toy_search import DOCUMENTS, toy_encoder
from toy_served import ToyLibrary

from bertsmith.assistant.transcripts import TranscriptFile
from bertsmith.search.answer import Answerer
from bertsmith.search.searcher import Searcher
from bertsmith.serving.app import create_app
from bertsmith.serving.engine import Engine
from bertsmith.serving.limits import BatchSettings, LimitSettings
from bertsmith.serving.measures import Measures
from bertsmith.serving.served import House


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ToyLibrary:
    return ToyLibrary.create(tmp_path_factory.mktemp("indexes") / "index", DOCUMENTS, toy_encoder())


@pytest.fixture(scope="module")
def searcher(library: ToyLibrary) -> Searcher:
    return library.searcher


@pytest.fixture(scope="module")
def answerer(library: ToyLibrary) -> Answerer:
    return library.answerer


@pytest.fixture(scope="module")
def house(library: ToyLibrary) -> Iterator[House]:
    engine = Engine(BatchSettings(), 60.0)
    yield House({}, engine, LimitSettings(), Measures(), **library.beside("docs"))
    engine.close()


def ask(house: House, path: str, body: Any) -> Any:
    async def once() -> Any:
        transport = httpx.ASGITransport(app=create_app(house))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post(path, json=body)

    return asyncio.run(once())


def test_hits_are_those_of_the_searcher(house: House, searcher: Searcher) -> None:
    for body in ({"query": "ba be"}, {"query": "ba", "mode": "dense", "filters": {"lang": "x"}, "limit": 1}):
        answer = ask(house, "/search", body)
        assert answer.status_code == 200
        wanted = {name: value for name, value in body.items() if name != "query"}
        (hits,) = searcher.search([body["query"]], **wanted)  # type: ignore[list-item, arg-type]
        assert_near(answer.json()["hits"], [asdict(hit) for hit in hits])
        assert answer.json()["index"] == "docs"


def test_answers_are_those_of_the_answerer(house: House, answerer: Answerer) -> None:
    answer = ask(house, "/ask", {"question": "bo bu", "index": "docs"}).json()
    (expected,) = answerer.ask(["bo bu"])
    assert_near({name: answer[name] for name in asdict(expected)}, asdict(expected))


@pytest.mark.parametrize(
    ("path", "body", "roles"),
    [
        ("/search", {"query": "ba"}, ["encoder"]),
        ("/search", {"query": "ba", "mode": "bm25"}, []),
        ("/ask", {"question": "bo bu"}, ["encoder", "reader"]),
        ("/chat", {"text": "bo bu"}, ["encoder", "reader"]),
    ],
)
def test_answers_say_where_they_come_from(house: House, path: str, body: Any, roles: list[str]) -> None:
    hashes = {"encoder": "its weights", "reader": "the reader's weights"}
    answer = ask(house, path, body).json()
    assert answer["models"] == {role: hashes[role] for role in roles}
    assert answer["truncation"] == {"num_cut_requests": 0, "num_cut_tokens": 0, "num_windowed_requests": 0}
    operation = create_app(house).openapi()["paths"][path]["post"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"models", "truncation", "timing"} <= set(schema["required"]) <= answer.keys()


def test_what_is_not_read_of_a_question_is_said(house: House, answerer: Answerer) -> None:
    question = "ba " * 100
    found = answerer.reader.predict([{"question": question, "context": "Ba be bi. Bo bu ba. Da de di."}])
    assert found[0].num_cut_tokens > 0
    for path, name in {"/ask": "question", "/chat": "text"}.items():
        said = ask(house, path, {name: question}).json()["truncation"]
        assert (said["num_cut_requests"], said["num_cut_tokens"]) == (1, found[0].num_cut_tokens)


def test_a_conversation_goes_on(house: House) -> None:
    first = ask(house, "/chat", {"text": "bo bu"}).json()
    second = ask(house, "/chat", {"text": "fa", "conversation": first["conversation"]}).json()
    assert second["conversation"] == first["conversation"]
    assert house.converses.transcripts.turns(first["conversation"])[2].text == "fa"


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/search", {"query": "ba", "index": "dcos"}, 404, "did you mean 'docs'"),
        ("/search", {"query": "ba", "mode": "fast"}, 422, "mode"),
        ("/search", {"query": "ba", "filters": {"year": {"over": 3}}}, 422, "no border 'over'"),
        ("/search", {"query": "ba", "filters": ["year"]}, 422, "filters"),
        ("/search", {"query": "ba", "filters": {"yaer": 1}}, 422, "did you mean 'year'"),
        ("/ask", {"question": "ba", "filters": {"yaer": 1}}, 422, "did you mean 'year'"),
        ("/search", {"query": "ba", "limit": 0}, 422, "limit"),
        ("/search", {"query": "ba", "rerank": True}, 422, "no reranker"),
        ("/search", {"query": ""}, 422, "query: an empty text"),
        ("/search", {"query": "\u3000\n", "mode": "dense"}, 422, "query: an empty text"),
        ("/search", {"query": 3}, 422, "expected a text"),
        ("/search", {"query": "ba" * 6_000}, 413, "at most 10,000"),
        ("/ask", {"query": "ba"}, 422, "no field 'query'"),
        ("/ask", {"question": " "}, 422, "an empty text"),
        ("/chat", {"text": " "}, 422, "empty message"),
        ("/chat", {"text": "ba", "conversation": 3}, 422, "conversation"),
    ],
)
def test_refusals_say_why(house: House, path: str, body: Any, status: int, message: str) -> None:
    answer = ask(house, path, body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_what_the_server_cannot_keep_is_its_own_fault(house: House, tmp_path: Path) -> None:
    transcripts = TranscriptFile(tmp_path / "talk.sqlite")
    transcripts.close()
    broken = replace(house, converses=replace(house.converses, transcripts=transcripts))
    answer = ask(broken, "/chat", {"text": "bo bu"})
    assert answer.status_code == 500
    assert str(tmp_path) not in answer.text
