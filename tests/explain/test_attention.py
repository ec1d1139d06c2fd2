"""Attention as transformers gives it for the same weights, and what is made of it by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import toy_config, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.errors import SettingsError
from bertsmith.explain.attention import attention, attention_maps, attentions, rollout
from bertsmith.explain.subject import Subject
from bertsmith.inference.predictor import Predictor, load
from bertsmith.model.frozen import frozen
from bertsmith.tasks import Task
from bertsmith.tasks.classification import Classification
from bertsmith.tasks.token_classification import TokenClassification

TEXT = "ba dess fi gott me"


def classifier() -> Predictor:
    torch.manual_seed(5)
    task = Classification.from_dict({"labels": ["a", "b"]}, "toy")
    return predictor_of(task)


def predictor_of(task: Task) -> Predictor:  # type: ignore[type-arg]
    network = task.build(toy_config()).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(10 if weight.ndim > 1 else 1)
    return Predictor(task, network, toy_tokenizer(), precision="fp32")


def subject(text: str = TEXT) -> Subject:
    predictor = classifier()
    return Subject.of(predictor, predictor.task.request(text))


@pytest.mark.peers
def test_attention_equals_that_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    asked = subject()
    save_artifact(tmp_path / "model", Artifact(asked.predictor.task, asked.predictor.network, toy_tokenizer()))
    loaded = load(tmp_path / "model", precision="fp32")
    theirs = transformers.BertForSequenceClassification.from_pretrained(
        tmp_path / "model", attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        expected = theirs(torch.tensor(asked.target.windows[0].input_ids)[None], output_attentions=True).attentions
    found = attentions(Subject.of(loaded, loaded.task.request(TEXT)))
    assert len(found) == len(expected) == 2
    for ours, their_layer in zip(found, expected, strict=True):
        assert ours[0].std() > 0.01, "all tokens look alike everywhere, so that nothing is compared"
        torch.testing.assert_close(ours[0], their_layer[0], atol=1e-5, rtol=0)


def test_rows_add_up_to_one() -> None:
    asked = subject()
    maps = attention_maps(asked)
    assert maps.by_head.shape == (2, 2, 6)
    assert maps.between.shape == (2, 6, 6)
    assert maps.words.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(maps.by_head.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(maps.between.sum(-1), 1, atol=1e-5)


def test_words_look_by_their_pieces() -> None:
    asked = subject()
    maps, last = attention_maps(asked), attentions(asked)[1][0]
    # Tokens: [CLS] ba de ##s ##s fi go ##t ##t me [SEP]
    pieces = [[1], [2, 3, 4], [5], [6, 7, 8], [9], [0, 10]]
    by_hand = [[float(last.mean(0)[row][:, column].sum(1).mean()) for column in pieces] for row in pieces]
    np.testing.assert_allclose(maps.between[1], by_hand, atol=1e-6)
    from_first = [[float(head[0, column].sum()) for column in pieces] for head in last]
    np.testing.assert_allclose(maps.by_head[1], from_first, atol=1e-6)
    np.testing.assert_allclose(attention(asked).scores, np.mean(from_first, axis=0)[:5], atol=1e-6)


def test_rollout_of_two_layers_by_hand() -> None:
    asked = subject()
    first, second = (0.5 * layer[0].mean(0) + 0.5 * torch.eye(11) for layer in attentions(asked))
    row = (second @ first)[0].double().numpy()
    np.testing.assert_allclose(rollout(asked).scores, asked.by_word(row), atol=1e-6)
    assert rollout(asked).scores.sum() < 1


def test_of_several_windows_attention_is_the_mean() -> None:
    predictor = classifier()
    task = Classification(predictor.task.settings.model_copy(update={"max_length": 4, "stride": 0}))
    asked = Subject.of(Predictor(task, predictor.network, toy_tokenizer(), "fp32"), task.request("ba be bi bo"))
    # Two windows of two words each: what the first token gives to the words of its window, halved.
    by_hand = [float(window.mean(0)[0, place]) / 2 for window in attentions(asked)[-1] for place in (1, 2)]
    np.testing.assert_allclose(attention(asked).scores, by_hand, atol=1e-6)


def test_of_several_windows_one_alone_is_drawn() -> None:
    predictor = classifier()
    task = Classification(predictor.task.settings.model_copy(update={"max_length": 4, "stride": 0}))
    asked = Subject.of(Predictor(task, predictor.network, toy_tokenizer(), "fp32"), task.request("ba be bi bo"))
    read: list[Any] = []
    hook = predictor.network.encoder.register_forward_pre_hook(lambda part, given: read.append(given[0].lengths))
    maps = attention_maps(asked, 1)
    hook.remove()
    assert read == [(4,)]
    assert maps.words.tolist() == [2, 3]
    by_hand = [window.mean(0)[1:3, 1:3] for window in (layer[1] for layer in attentions(asked))]
    np.testing.assert_allclose(maps.between[:, :2, :2], torch.stack(by_hand), atol=1e-6)


def test_a_tag_is_looked_at_from_its_word() -> None:
    torch.manual_seed(5)
    task = TokenClassification.from_dict({"labels": ["O", "B-A"]}, "toy")
    predictor = predictor_of(task)
    asked = Subject.of(predictor, task.request(TEXT), "dess=B-A")
    assert asked.target.reads == ((2,),)
    last = attentions(asked)[1][0].mean(0)[2].double().numpy()
    np.testing.assert_allclose(attention(asked).scores, asked.by_word(last), atol=1e-6)


def test_a_copy_for_prediction_is_refused() -> None:
    predictor = classifier()
    quick = Predictor(predictor.task, frozen(predictor.network, "bf16"), predictor.tokenizer)
    with pytest.raises(SettingsError, match="precision='fp32'"):
        Subject.of(quick, predictor.task.request(TEXT))
