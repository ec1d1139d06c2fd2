"""One harness over every entry of `TASKS`: what holds for any task, whatever it is about."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import ToyTask, toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.data.batch import Window
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError
from bertsmith.inference.predictor import Predictor, load
from bertsmith.tasks import TASKS, Task
from bertsmith.text.noise import changes
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import backward, make_step
from bertsmith.training.trainer import train

pytestmark = pytest.mark.parametrize("name", list(TASKS))


def encoded(toy: ToyTask, items: list[Any]) -> list[Window]:
    tokenizer = toy_tokenizer()
    return [w for i, item in enumerate(items) for w in toy.task.encode(item, tokenizer, sample_rng(0, 0, i))]


def network_for(task: Task[Any, Any]) -> torch.nn.Module:
    torch.manual_seed(0)
    return task.build(toy_config()).eval()


def predictor_for(toy: ToyTask, network: Any) -> Predictor:
    return Predictor(toy.task, network, toy_tokenizer(), precision="fp32")


def test_overfits_eight_examples(name: str) -> None:
    toy = toy_task(name)
    network = network_for(toy.task)
    settings = TrainingSettings(
        max_steps=150, per_device_train_batch_size=8, learning_rate=3e-3, fixed_copies=1, precision="fp32"
    )
    result = train(toy.task, network, toy_tokenizer(), toy.samples, settings)
    assert result.final_loss < 0.1
    metrics = toy.task.score(toy.samples, predictor_for(toy, network).run(toy.samples).predictions)
    assert set(metrics) <= set(toy.task.metrics)
    assert metrics[next(iter(toy.task.metrics))] == 1.0


def test_saved_and_loaded_model_predicts_the_same(name: str, tmp_path: Path) -> None:
    toy = toy_task(name)
    network = network_for(toy.task)
    save_artifact(tmp_path / "model", Artifact(toy.task, network, toy_tokenizer()))  # type: ignore[arg-type]
    loaded = load(tmp_path / "model", precision="fp32")
    assert loaded.task == toy.task
    assert loaded.predict(toy.requests) == predictor_for(toy, network).predict(toy.requests)
    assert load_artifact(tmp_path / "model").record["task"]["name"] == name


def test_a_batch_of_one_equals_a_batch_of_many(name: str) -> None:
    toy = toy_task(name)
    network = network_for(toy.task)
    many = predictor_for(toy, network).predict(toy.requests)
    alone = [predictor_for(toy, network).predict([request])[0] for request in toy.requests]
    assert json.dumps(_rounded(many)) == json.dumps(_rounded(alone))


def _rounded(value: Any) -> Any:
    """Predictions as plain data, with probabilities to the fourth place, which 1e-5 of a logit does not reach."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return _rounded(_fields(value)) if hasattr(value, "__slots__") else value


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def test_packing_changes_neither_losses_nor_gradients(name: str) -> None:
    toy = toy_task(name)
    network = network_for(toy.task)
    samples = [toy.task.encode(s, toy_tokenizer(), sample_rng(0, 0, i)) for i, s in enumerate(toy.samples)]

    def gradients(max_tokens: int) -> dict[str, torch.Tensor]:
        network.zero_grad()
        step = make_step(toy.task, samples, max_tokens)
        backward(toy.task, network, step, step.facts.counts, "fp32")
        return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}

    together, apart = gradients(100_000), gradients(1)
    assert together.keys() == apart.keys()
    for key, gradient in together.items():
        torch.testing.assert_close(gradient, apart[key], atol=1e-4, rtol=1e-4)


def test_counts_add_up_whatever_the_micro_batches(name: str) -> None:
    toy = toy_task(name)
    samples = [toy.task.encode(s, toy_tokenizer(), sample_rng(0, 0, i)) for i, s in enumerate(toy.samples)]
    whole, parts = (make_step(toy.task, samples, budget) for budget in (100_000, 40))
    assert len(parts.batches) > len(whole.batches) == 1
    assert parts.facts.counts == pytest.approx(whole.facts.counts)
    assert all(count > 0 for count in whole.facts.counts.values())


def test_encoding_is_a_function_of_its_random_numbers(name: str) -> None:
    toy = toy_task(name)
    first, again = encoded(toy, toy.samples), encoded(toy, toy.samples)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.input_ids, other.input_ids)
        for key, value in one.targets.items():
            np.testing.assert_array_equal(value, other.targets[key])


def test_task_survives_json(name: str) -> None:
    task = toy_task(name).task
    assert TASKS[name].from_dict(json.loads(json.dumps(task.to_dict())), "test") == task


def test_request_is_read_from_a_record_a_tuple_or_a_text_alike(name: str) -> None:
    toy = toy_task(name)
    request = toy.requests[0]
    record = _fields(request)
    assert toy.task.request(record) == toy.task.request(tuple(record.values())) == request
    with pytest.raises(DataError, match="values for"):
        toy.task.request((*record.values(), "more"))


def test_a_target_is_one_number_that_depends_on_the_network(name: str) -> None:
    toy = toy_task(name)
    if name == "seq2seq":
        pytest.skip("a generation loop has no gradient; its explanation comes token by token")
    network = network_for(toy.task)
    batch = toy.task.collate(encoded(toy, toy.requests))
    target = toy.task.target(toy.task.outputs(network, batch)[0])
    target.backward()  # type: ignore[no-untyped-call]
    assert target.ndim == 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_small_changes_of_an_example_can_be_learned_from(name: str) -> None:
    toy = toy_task(name)
    for change in changes(typo_rate=1.0, drop_rate=0.5):
        if toy.task.takes(change):
            noisy = [toy.task.changed(sample, change, sample_rng(0, 0, i)) for i, sample in enumerate(toy.samples)]
            if not change.is_case:
                assert [one.answer for one in noisy] == [one.answer for one in toy.samples]
            assert toy.task.collate(encoded(toy, noisy)).counts == toy.task.collate(encoded(toy, toy.samples)).counts
    assert (name == "pretraining") == (not any(toy.task.takes(change) for change in changes(1.0, 0.5)))


def test_a_prediction_agrees_with_itself(name: str) -> None:
    toy = toy_task(name)
    predictions = predictor_for(toy, network_for(toy.task)).predict(toy.requests)
    for prediction in predictions:
        assert toy.task.agrees(prediction, prediction)
        assert toy.task.agrees(prediction, prediction, in_place=True)


def test_generated_texts_and_first_passages_agree_where_they_are_the_same(name: str) -> None:
    if name not in ("seq2seq", "reranking"):
        pytest.skip("labels, answers or nothing are compared")
    toy = toy_task(name)
    prediction = predictor_for(toy, network_for(toy.task)).predict(toy.requests)[0]
    other = {"text": prediction.text + " more"} if name == "seq2seq" else {"ranking": prediction.ranking[::-1]}
    assert not toy.task.agrees(prediction, replace(prediction, **other))


def test_what_a_prediction_decided_is_known_without_the_answer(name: str) -> None:
    toy = toy_task(name)
    for prediction in predictor_for(toy, network_for(toy.task)).predict(toy.requests):
        decided = toy.task.decided(prediction)
        assert all(isinstance(label, str) for label in decided.labels)
        assert (decided.confidence is None) == (name == "embedding")
        assert decided.confidence is None or 0 < decided.confidence <= 1
