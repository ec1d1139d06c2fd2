"""The route that explains: what the library says, with what makes it small enough for a wire; and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import httpx
import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.explain.explanation import EXPLAINERS, ExplainerSettings, explain
from bertsmith.inference.predictor import Predictor
from bertsmith.model.frozen import frozen
from bertsmith.serving.app import create_app
from bertsmith.serving.engine import Engine
from bertsmith.serving.limits import BatchSettings, LimitSettings
from bertsmith.serving.measures import Measures
from bertsmith.serving.served import House, Served
from bertsmith.tasks import TASKS


def predictor(name: str) -> Predictor:
    torch.manual_seed(0)
    task = toy_task(name).task
    return Predictor(task, task.build(toy_config(initializer_range=0.5)).eval(), toy_tokenizer(), "fp32")


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    engine = Engine(BatchSettings(), 60.0)
    models = {name: Served(name, predictor(name)) for name in TASKS}
    yield create_app(House(models, engine, LimitSettings(max_explained_tokens=150), Measures()))
    engine.close()


def ask(app: Any, name: str, body: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
            return await client.post(f"/v1/models/{name}/explain", json=body)

    return asyncio.run(once())


@pytest.mark.parametrize("name", list(TASKS))
def test_every_model_explains_as_the_library_does(app: Any, name: str) -> None:
    request = toy_task(name).requests[1]
    record = {key: value for key, value in asdict(request).items() if value is not None}
    response = ask(app, name, {"input": record, "num_random": 2})
    assert response.status_code == 200, response.text
    answer = response.json()
    expected = explain(predictor(name), request, ExplainerSettings(num_random=2)).to_dict()
    assert [word["word"] for word in answer["words"]] == [word["word"] for word in expected["words"]]
    for given, known in zip(answer["words"], expected["words"], strict=True):
        assert given["score"] == pytest.approx(known["score"], abs=1e-5)
    assert answer["target"]["name"] == expected["target"]["name"]
    assert answer["model"]["name"] == name
    num_columns = len(answer["attention"]["words"]) + 1
    assert {len(row) for layer in answer["attention"]["by_head"] for row in layer} == {num_columns}


@pytest.mark.parametrize("explainer", list(EXPLAINERS))
def test_by_every_explainer(app: Any, explainer: str) -> None:
    answer = ask(app, "classification", {"input": ["ba be", "bi"], "explainer": explainer, "target": "2"})
    body = {"input": {"text": "ba be", "text_pair": "bi"}, "explainer": explainer, "target": "2"}
    assert answer.status_code == 422, "a list is no record"
    assert ask(app, "classification", body).json()["target"]["name"] == "2"


PAIR = {"text": "ba be", "text_pair": "bi"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, "input: expected"),
        ({"inputs": [PAIR]}, 422, "no field 'inputs'; did you mean 'input'"),
        ({"input": PAIR, "explainer": "occluson"}, 422, "did you mean 'occlusion'"),
        ({"input": PAIR, "explainer": 3}, 422, "explainer: expected a text"),
        ({"input": PAIR, "target": "7"}, 422, "no label '7'"),
        ({"input": PAIR, "max_steps": 100_000}, 422, "from 1 to 256"),
        ({"input": PAIR, "num_random": -1}, 422, "from 0 to 20"),
        ({"input": {"text": "", "text_pair": " "}}, 422, "nothing to explain"),
        ({"input": {"text": "ba " * 200, "text_pair": "be"}}, 413, "at most 150 are explained"),
    ],
)
def test_what_is_refused_and_why(app: Any, body: Any, status: int, message: str) -> None:
    response = ask(app, "classification", body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


def test_a_passage_without_words_has_nothing_to_explain(app: Any) -> None:
    record = {"query": "", "passages": ["ba be", ""]}
    answers = {target: ask(app, "reranking", {"input": record, "target": target}) for target in "01"}
    assert answers["0"].status_code == 200
    assert answers["1"].status_code == 422
    assert "nothing to explain" in answers["1"].json()["error"]["message"]


def test_a_copy_for_prediction_is_opened_anew_once() -> None:
    whole, times = predictor("classification"), []

    def reopen() -> Predictor:
        times.append(1)
        return whole

    quick = Predictor(whole.task, frozen(whole.network, "bf16"), whole.tokenizer)
    engine = Engine(BatchSettings(), 60.0)
    try:
        served = Served("classification", quick, reopen=reopen)
        app = create_app(House({"classification": served}, engine, LimitSettings(), Measures()))
        assert times == []
        assert [ask(app, "classification", {"input": PAIR}).status_code for _ in range(2)] == [200, 200]
        assert times == [1]
    finally:
        engine.close()


def test_explanations_are_calls_of_their_own_kind() -> None:
    kinds = []

    class Noting(Engine):
        def call(self, work: Any, deadline: float, kind: str = "search") -> Any:
            kinds.append(kind)
            return super().call(work, deadline, kind)

    engine = Noting(BatchSettings(), 60.0)
    served = Served("classification", predictor("classification"))
    app = create_app(House({"classification": served}, engine, LimitSettings(), Measures()))
    assert ask(app, "classification", {"input": PAIR}).status_code == 200
    engine.close()
    assert kinds == ["explanation"]


def test_an_explanation_ends_at_its_deadline(app: Any) -> None:
    body = {"input": {"text": "ba be bi " * 20, "text_pair": "bo"}, "deadline_ms": 1, "num_random": 20}
    response = ask(app, "classification", body)
    assert response.status_code == 504
    assert ask(app, "classification", {"input": PAIR}).status_code == 200


def test_the_description_names_the_route_of_each_model(app: Any) -> None:
    paths = app.openapi()["paths"]
    operation = paths["/v1/models/reranking/explain"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["explainer"] == {"enum": list(EXPLAINERS)}
    assert operation["operationId"] == "explain_reranking"
    assert paths["/v1/models/reranking/predict"]["post"]["operationId"] == "predict_reranking"
