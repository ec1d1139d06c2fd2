"""Gradients against finite differences, the integral against what it has to add up to, occlusion by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.explain.gradients import gradient_x_input, integrated_gradients
from bertsmith.explain.occlusion import occlusion
from bertsmith.explain.subject import Subject
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks.classification import Classification

TEXT = "ba dess fi gott me"


def subject(name: str = "classification", *, spread: float = 3.0) -> Subject:
    torch.manual_seed(0)
    toy = toy_task(name)
    task = Classification.from_dict({"labels": ["a", "b"]}, "toy") if name == "classification" else toy.task
    network = task.build(toy_config()).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(spread if weight.ndim > 1 else 1)
    request = task.request(TEXT) if name == "classification" else toy.requests[2]
    return Subject.of(Predictor(task, network.double(), toy_tokenizer(), precision="fp32"), request)


@pytest.mark.parametrize("name", ["classification", "question_answering", "seq2seq", "embedding"])
def test_gradients_equal_finite_differences(name: str) -> None:
    asked = subject(name)
    torch.manual_seed(1)
    vectors = asked.vectors.double()
    direction = torch.randn_like(vectors)
    step = 1e-3  # what tasks make of logits is fp32, of which a smaller one would leave too few digits
    ahead, behind = asked.scores_at(torch.stack([vectors + step * direction, vectors - step * direction]))
    slope = float(ahead - behind) / (2 * step)
    assert float((asked.gradients(vectors[None])[0] * direction).sum()) == pytest.approx(slope, rel=1e-2)


def test_gradient_x_input_by_word() -> None:
    asked = subject()
    found = gradient_x_input(asked)
    gradients = asked.gradients(asked.vectors[None])[0]
    by_token = (gradients * asked.vectors).sum(-1)
    pieces = [toy_tokenizer().vocab[id] for id in asked.target.windows[0].input_ids]
    assert pieces == ["[CLS]", "ba", "de", "##s", "##s", "fi", "go", "##t", "##t", "me", "[SEP]"]
    by_hand = [by_token[1], by_token[2:5].sum(), by_token[5], by_token[6:9].sum(), by_token[9]]
    np.testing.assert_allclose(found.scores, torch.stack(by_hand).numpy(), rtol=1e-6)


def test_the_integral_adds_up_and_says_what_it_took() -> None:
    asked = subject(spread=5.0)
    found = integrated_gradients(asked)
    all_masked = asked.scores(np.zeros((1, asked.num_words), dtype=np.bool_))[0]
    assert found.completeness is not None
    assert found.completeness.difference == pytest.approx(asked.score - all_masked)
    assert found.scores.sum() == pytest.approx(found.completeness.sum)
    assert found.completeness.error < 0.01
    coarse = integrated_gradients(asked, max_steps=1).completeness
    assert coarse is not None
    assert coarse.num_steps == 1
    assert coarse.error > 0.01, "one step was enough, so that the test above shows nothing"
    assert not coarse.holds


def test_of_a_linear_model_each_word_has_its_own_weight() -> None:
    """A network whose layers are cut out: the mean of tokens' vectors times a weight, so that all ways agree."""
    asked = subject("embedding")
    weight = torch.randn(asked.vectors.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def scores(network: Any, batch: Any) -> Any:
        tokens = batch.packed.token_vectors
        tokens = network.encoder.embeddings.tokens(batch.packed.input_ids) if tokens is None else tokens
        return (tokens.double() @ weight).view(-1, asked.num_tokens).sum(1)

    object.__setattr__(asked.target, "scores", scores)
    by_hand = asked.by_word(((asked.vectors - asked.baseline).double() @ weight).numpy())
    np.testing.assert_allclose(integrated_gradients(asked).scores, by_hand, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(occlusion(asked).scores, by_hand, rtol=1e-5, atol=1e-8)
    whole = asked.by_word((asked.vectors.double() @ weight).numpy())
    np.testing.assert_allclose(gradient_x_input(asked).scores, whole, rtol=1e-5, atol=1e-8)


def test_occlusion_by_hand() -> None:
    asked = subject()
    task, network = asked.predictor.task, asked.predictor.network
    texts = ["[MASK] dess fi gott me", "ba [MASK] [MASK] [MASK] fi gott me", TEXT]
    windows = [asked.predictor.encode(task.request(text))[0] for text in texts]
    with torch.no_grad():
        outputs = task.outputs(network, task.collate(windows))
    index = ("a", "b").index(asked.target.name)
    first, second, whole = (float(task.target(output, index)) for output in outputs)
    np.testing.assert_allclose(occlusion(asked).scores[:2], [whole - first, whole - second], rtol=1e-6)


def test_weights_ask_for_gradients_as_before() -> None:
    asked = subject()
    network = asked.predictor.network
    before = [weight.requires_grad for weight in network.parameters()]
    gradient_x_input(asked)
    assert [weight.requires_grad for weight in network.parameters()] == before
    assert all(weight.grad is None for weight in network.parameters())
