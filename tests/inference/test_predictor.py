"""Prediction: order, blocks, what was cut, and what a request may look like."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference import predictor as module
from bertsmith.inference.predictor import Predictor, _mapped
from bertsmith.kernels.library import engine
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.tasks import TASKS
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


def artifact_of(name: str) -> Artifact:
    """Wide enough for the kernels to take its layers whole."""
    torch.manual_seed(0)
    task = toy_task(name).task
    network = task.build(toy_config(hidden_size=64, intermediate_size=128, initializer_range=0.2)).eval()
    return Artifact(task, network, toy_tokenizer(), {})


PRECISIONS = [
    "fp32",
    *(
        pytest.param(each, marks=pytest.mark.skipif(engine().library is None, reason=f"no kernels: {engine().reason}"))
        for each in ("bf16", "int8")
    ),
]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", TASKS)
def test_batch_invariant_is_the_same_bits_alone_and_together(name: str, precision: PredictionPrecision) -> None:
    predictor = Predictor.of(artifact_of(name), precision=precision, batch_invariant=True)
    requests = toy_task(name).requests
    together = predictor.run(requests).predictions
    alone = [predictor.run([request]).predictions[0] for request in requests]
    np.testing.assert_equal([asdict(each) for each in together], [asdict(each) for each in alone])


@pytest.mark.skipif(engine().library is None, reason=f"no kernels: {engine().reason}")
def test_with_kernels_texts_are_batched_all_the_same() -> None:
    budgets = {
        name: Predictor.of(artifact_of(name), precision="bf16", batch_invariant=True).max_tokens_per_batch
        for name in ("classification", "seq2seq")
    }
    # The head over the vocabulary is no product of the kernels.
    assert budgets == {"classification": 8192, "seq2seq": 1}


@pytest.mark.skipif(engine().library is None, reason=f"no kernels: {engine().reason}")
def test_int8_is_near_fp32() -> None:
    answers = [
        Predictor.of(artifact_of("classification"), precision=precision).predict([(text, "ba") for text in TEXTS])
        for precision in ("fp32", "int8")
    ]
    for one, other in zip(*answers, strict=True):
        assert one.scores != other.scores
        assert one.scores == pytest.approx(other.scores, abs=0.02)


def test_int8_without_kernels_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertsmith.kernels.native_ops.is_available", lambda: False)
    with pytest.raises(SettingsError, match="int8 needs the compiled kernels"):
        Predictor.of(artifact_of("classification"), precision="int8")


@pytest.mark.parametrize("num_threads", [1, 3])
def test_work_in_threads_keeps_its_order_and_ends_with_the_first_error(num_threads: int) -> None:
    assert list(_mapped(lambda number: number * number, range(20), num_threads)) == [n * n for n in range(20)]

    def fails(number: int) -> int:
        if number == 4:
            raise DataError("the fifth")
        return number

    got = []
    with pytest.raises(DataError, match="the fifth"):
        got.extend(_mapped(fails, range(1000), num_threads))


def test_several_threads_predict_and_encode_what_one_does(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = TEXTS * 40
    alone = predictor.predict(requests)
    mapped = module._mapped
    monkeypatch.setattr(module, "_mapped", lambda work, over, _: mapped(work, over, 3))
    assert predictor.predict(requests) == alone


@pytest.mark.parametrize("name", TASKS)
def test_who_embeds_and_who_is_for_which_task(name: str) -> None:
    predictor = Predictor.of(artifact_of(name), precision="fp32")
    assert predictor.embeds == (name == "embedding")
    assert predictor.for_task(name, "reader") is predictor
    message = f"reader: a model for none is expected, this one is for {name}"
    with pytest.raises(SettingsError, match=message):
        predictor.for_task("none", "reader")
