"""Every route for every task: what is answered is what `Predictor.predict` says; what is refused, and why."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from near import assert_near
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.explain.explanation import EXPLAINERS
from bertsmith.inference.predictor import Predictor
from bertsmith.serving import served as served_module
from bertsmith.serving.access import Access
from bertsmith.serving.app import create_app
from bertsmith.serving.engine import Engine
from bertsmith.serving.errors import RefusedRequestError
from bertsmith.serving.limits import BatchSettings, LimitSettings
from bertsmith.serving.measures import Measures
from bertsmith.serving.served import House, Served
from bertsmith.tasks import TASKS
from bertsmith.text.tokenizer import Tokenizer

Ask = Callable[..., Any]


def predictor(name: str) -> Predictor:
    torch.manual_seed(0)
    task = toy_task(name).task
    network = task.build(toy_config(initializer_range=0.5)).eval()
    return Predictor(task, network, toy_tokenizer(), "fp32", sha256=f"hash of {name}")


@pytest.fixture(scope="module")
def models() -> dict[str, Served]:
    return {name: Served(name, predictor(name)) for name in TASKS}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    made = Engine(BatchSettings(max_tokens_per_batch=256), 60.0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def house(models: dict[str, Served], engine: Engine) -> House:
    limits = LimitSettings(max_items=50, max_characters=1000, max_tokens_per_request=9_000)
    return House(models, engine, limits, Measures())


def asking(house: House, access: Access | None = None) -> Ask:
    """A function that asks the application one request, as if over the wire."""
    app = create_app(house, access)

    def ask(path: str, body: Any = None, **headers: str) -> Any:
        async def once() -> Any:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
                if body is None:
                    return await client.get(path, headers=headers)
                return await client.post(path, json=body, headers=headers)

        return asyncio.run(once())

    return ask


@pytest.fixture(scope="module")
def ask(house: House) -> Ask:
    return asking(house)


@pytest.mark.parametrize("name", TASKS)
def test_each_task_answers_as_its_predictor(ask: Ask, models: dict[str, Served], name: str) -> None:
    requests = toy_task(name).requests
    answer = ask(f"/v1/models/{name}/predict", {"inputs": [asdict(request) for request in requests]})
    assert answer.status_code == 200
    expected = [asdict(prediction) for prediction in models[name].predictor.predict(requests)]
    assert_near(answer.json()["predictions"], expected)
    assert answer.json()["model"] == {"name": name, "task": name, "sha256": f"hash of {name}"}
    assert answer.json()["usage"]["num_tokens"] > 0
    assert answer.json()["timing"].keys() == {"queue_ms", "inference_ms", "total_ms"}
    assert answer.headers["cache-control"] == "no-store"


def test_what_was_cut_is_said(models: dict[str, Served], engine: Engine) -> None:
    whole = models["classification"].predictor
    task = type(whole.task)(whole.task.settings.model_copy(update={"max_length": 8, "truncation": "head"}))
    cut = Served("cut", dataclasses.replace(whole, task=task))
    ask = asking(House({"cut": cut}, engine, LimitSettings(), Measures()))
    answer = ask("/v1/models/cut/predict", {"inputs": [{"text": "ba " * 20, "text_pair": "be"}, ["ba", "be"]]}).json()
    assert "error" in answer  # a list is no request: fields have names
    answer = ask(
        "/v1/models/cut/predict",
        {"inputs": [{"text": "ba " * 20, "text_pair": "be"}, {"text": "ba", "text_pair": "be"}]},
    ).json()
    # Of 20 + 1 pieces and 3 special tokens, 8 tokens are left.
    assert answer["truncation"] == {"num_cut_requests": 1, "num_cut_tokens": 16, "num_windowed_requests": 0}


def test_embeddings_have_openais_shape(ask: Ask, models: dict[str, Served]) -> None:
    expected = models["embedding"].predictor.embed(["ba be", "bo"])
    answer = ask("/v1/embeddings", {"input": ["ba be", "bo"], "model": "embedding"}).json()
    assert answer["object"] == "list"
    assert answer["model"] == "embedding"
    assert [row["index"] for row in answer["data"]] == [0, 1]
    np.testing.assert_allclose([row["embedding"] for row in answer["data"]], expected, atol=1e-4)
    packed = ask("/v1/embeddings", {"input": "ba be", "encoding_format": "base64"}).json()["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), "<f4"), expected[0], atol=1e-4)


def test_similarities_are_cosines(ask: Ask, models: dict[str, Served]) -> None:
    rows = models["embedding"].predictor.embed(["ba be", "ba be", "bo"])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = ask("/similarity", {"source": "ba be", "texts": ["ba be", "bo"]}).json()["similarities"]
    np.testing.assert_allclose(found, rows[1:] @ rows[0], atol=1e-4)


def test_documents_come_in_the_order_of_their_relevance(ask: Ask) -> None:
    documents = ["be bi", "bo", "ba ba ba"]
    answer = ask("/rerank", {"query": "ba", "documents": documents, "return_documents": True, "top_n": 2}).json()
    results = answer["results"]
    assert len(results) == 2
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    assert all(result["document"]["text"] == documents[result["index"]] for result in results)


def test_tokens_are_places_in_the_text(ask: Ask) -> None:
    text = "ba  bos"
    (tokens,) = ask("/tokenize", {"texts": [text], "model": "classification"}).json()["tokens"]
    assert [token["text"] for token in tokens] == ["[CLS]", "ba", "bo", "##s", "[SEP]"]
    assert [text[token["start"] : token["end"]] for token in tokens] == ["", "ba", "bo", "s", ""]


def test_masks_are_filled_with_as_many_tokens_as_wanted(ask: Ask) -> None:
    answer = ask("/fill-mask", {"texts": ["ba [MASK] bo [MASK]"], "top_k": 3}).json()
    assert [len(fills) for fills in answer["predictions"][0]["fills"]] == [3, 3]


def test_the_models_are_listed(ask: Ask) -> None:
    listed = ask("/v1/models").json()
    assert [model["name"] for model in listed["models"]] == list(TASKS)
    assert listed["models"][1]["labels"] == ["0", "1", "2"]
    assert listed["indexes"] == []
    assert not listed["assistant"]
    assert {one["name"]: one["does"] for one in listed["explainers"]} == {n: e.does for n, e in EXPLAINERS.items()}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/models/clasification/predict", {"inputs": ["a"]}, 404, "did you mean 'classification'"),
        ("/v1/models/seq2seq/predict", {"inputs": ["ba", 3]}, 422, "input 1"),
        ("/v1/models/seq2seq/predict", {"inputs": [{"txt": "ba"}]}, 422, "did you mean 'text'"),
        ("/v1/models/seq2seq/predict", {"inputs": []}, 422, "an empty list"),
        ("/v1/models/seq2seq/predict", {"inputs": "ba"}, 422, "expected a list"),
        ("/v1/models/seq2seq/predict", {"input": ["ba"]}, 422, "did you mean 'inputs'"),
        ("/v1/models/seq2seq/predict", {"inputs": ["ba"] * 51}, 413, "at most 50"),
        ("/v1/models/seq2seq/predict", {"inputs": ["ba", "b" * 1001]}, 413, "at most 1,000"),
        ("/v1/models/seq2seq/predict", {"inputs": ["ba"], "deadline_ms": 0}, 422, "deadline_ms"),
        ("/v1/embeddings", {"input": "ba", "model": "classification"}, 422, "is for classification"),
        ("/v1/embeddings", {"input": "ba", "dimensions": 8}, 422, "dimensions"),
        ("/v1/embeddings", {"input": [1, 2]}, 422, "expected texts"),
        ("/tokenize", {"texts": ["b " * 490] * 20}, 413, "9,840 tokens, at most 9,000"),
        ("/fill-mask", {"texts": ["no blank"]}, 422, "MASK"),
        ("/fill-mask", {"texts": ["ba [MASK]"], "top_k": 1000}, 422, "from 1 to 100"),
        ("/search", {"query": "ba"}, 404, "no index"),
        ("/chat", {"text": "ba"}, 404, "no assistant"),
        ("/nowhere", {"a": 1}, 404, "openapi.json"),
    ],
)
def test_refusals_say_why(ask: Ask, path: str, body: Any, status: int, message: str) -> None:
    answer = ask(path, body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_the_place_of_the_input_at_fault_is_said(ask: Ask) -> None:
    bad = ask("/v1/models/seq2seq/predict", {"inputs": ["ba", "be", {"text": None}]})
    assert bad.json()["error"]["index"] == 2


def test_a_key_is_asked_for_and_the_page_is_not(house: House) -> None:
    ask = asking(house, Access(["a key of some length", "another key, as long"]))
    body = {"inputs": ["ba"]}
    assert ask("/v1/models/seq2seq/predict", body).status_code == 401
    assert ask("/v1/models/seq2seq/predict", body, Authorization="Bearer wrong").status_code == 401
    for key in ("a key of some length", "another key, as long"):
        assert ask("/v1/models/seq2seq/predict", body, Authorization=f"Bearer {key}").status_code == 200
    assert ask("/v1/models/seq2seq/predict", body, **{"X-API-Key": "a key of some length"}).status_code == 200
    assert ask("/metrics").status_code == 401
    assert {ask(path).status_code for path in ("/", "/docs", "/livez", "/readyz", "/page/page.js")} == {200}


def test_who_asks_too_often_is_told_when_to_come_back(house: House) -> None:
    ask = asking(house, Access(requests_per_second=0.5))
    answers = [ask("/tokenize", {"texts": ["ba"]}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 2


def test_what_is_counted_has_no_texts(house: House) -> None:
    ask = asking(house)
    ask("/v1/models/seq2seq/predict", {"inputs": ["ba be"]})
    ask("/secret-words/and/paths", {"a": 1})
    text = ask("/metrics").text
    assert 'bertsmith_requests_total{route="/v1/models/{name}/predict",status="200"}' in text
    assert "secret" not in text


def test_the_description_follows_the_tasks(ask: Ask) -> None:
    described = ask("/openapi.json").json()
    schemas = described["components"]["schemas"]
    for name in TASKS:
        assert f"/v1/models/{name}/predict" in described["paths"]
        for part in (TASKS[name].Request, TASKS[name].Prediction):
            assert schemas[part.__name__]["properties"].keys() == {field.name for field in dataclasses.fields(part)}


def test_the_description_is_made_once(house: House) -> None:
    app = create_app(house)
    assert app.openapi() is app.openapi()


@pytest.mark.parametrize(("num_words", "is_in_the_loop"), [(10, True), (10_000, False)])
def test_long_texts_are_tokenized_beside_the_event_loop(
    models: dict[str, Served], engine: Engine, monkeypatch: pytest.MonkeyPatch, num_words: int, is_in_the_loop: bool
) -> None:
    threads: list[threading.Thread] = []
    real = Tokenizer.encode_batch

    def remembering(tokenizer: Tokenizer, *arguments: Any, **named: Any) -> Any:
        threads.append(threading.current_thread())
        return real(tokenizer, *arguments, **named)

    monkeypatch.setattr(Tokenizer, "encode_batch", remembering)
    ask = asking(House(models, engine, LimitSettings(), Measures()))
    answer = ask("/tokenize", {"texts": ["ba " * num_words], "model": "classification"}).json()
    assert [token["text"] for token in answer["tokens"][0]] == ["[CLS]", *["ba"] * num_words, "[SEP]"]
    assert answer["model"]["name"] == "classification"
    assert [thread is threading.current_thread() for thread in threads] == [is_in_the_loop]


def test_what_the_inference_thread_gives_up_is_too_late_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees the deadline pass before the event loop does, whose clock here stands until it has heard of that."""
    deadline = time.monotonic() - 1
    ticks = iter([deadline - 30, deadline + 30])
    monkeypatch.setattr(served_module, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    with pytest.raises(RefusedRequestError) as refusal:
        asyncio.run(house.done(lambda: "never done", deadline))
    assert refusal.value.status == 504
