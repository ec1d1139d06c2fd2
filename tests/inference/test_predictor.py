"""Prediction: order, blocks, what was cut, and what a request may look like."""

from __future__ import annotations

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.errors import DataError
from bertsmith.inference import predictor as module
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks.classification import Classification, TextRequest


@pytest.fixture
def predictor() -> Predictor:
    torch.manual_seed(0)
    trained = toy_task("classification").task
    task = Classification(trained.settings.model_copy(update={"pairs": None}))
    network = task.build(toy_config(initializer_range=0.5)).eval()
    return Predictor(task, network, toy_tokenizer(), precision="fp32", max_tokens_per_batch=20)


TEXTS = ["ba", "be bi bo bu", "da de", "fa fe fi fo fu ga ge gi go gu", ""]


def test_answers_come_in_the_order_of_the_requests(predictor: Predictor) -> None:
    forwards, backwards = predictor.predict(TEXTS), predictor.predict(TEXTS[::-1])
    for one, other in zip(forwards, backwards[::-1], strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
    assert len({round(answer.score, 6) for answer in forwards}) == len(TEXTS)


def test_blocks_change_nothing(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predictor.predict(TEXTS)
    monkeypatch.setattr(module, "BLOCK_REQUESTS", 2)
    for one, other in zip(whole, predictor.predict(TEXTS), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_a_request_is_a_text_a_tuple_a_record_or_a_request(predictor: Predictor) -> None:
    requests = [("ba be", "da"), {"text": "ba be", "text_pair": "da"}, TextRequest("ba be", "da")]
    assert len({answer.score for request in requests for answer in predictor.predict([request])}) == 1


def test_probabilities_add_up(predictor: Predictor) -> None:
    for answer in predictor.predict(TEXTS):
        assert sum(answer.scores.values()) == pytest.approx(1.0, abs=1e-5)
        assert answer.scores[answer.label] == answer.score == max(answer.scores.values())


def test_what_was_cut_is_in_the_answer_and_in_the_sum(predictor: Predictor) -> None:
    task = Classification(predictor.task.settings.model_copy(update={"max_length": 6, "truncation": "head"}))
    short = Predictor(task, predictor.network, predictor.tokenizer, precision="fp32")
    answers = short.run([TextRequest(text) for text in TEXTS])
    # 4 of 6 places are left by [CLS] and [SEP]: ten words lose six, the others fit.
    assert [answer.num_cut_tokens for answer in answers.predictions] == [0, 0, 0, 6, 0]
    assert (answers.num_cut_requests, answers.num_cut_tokens) == (1, 6)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (3, "request 1"),
        ({"txt": "ba"}, "request 1: no field 'txt'; did you mean 'text'"),
        ({}, "request 1: no value in 'text'; classification is asked with text, text_pair"),
        ({"text": None}, "request 1: no value in 'text'"),
        ({"text": "ba", "text_pair": 5}, "request 1: field 'text_pair'"),
        ("a lone surrogate \ud800", "surrogate"),
    ],
)
def test_a_bad_request_is_named(predictor: Predictor, request_: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        predictor.predict([request_])


def test_nothing_asked_is_nothing_answered(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
