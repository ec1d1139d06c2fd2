"""Training examples made harder: keyed by sample and epoch, safe for what stands at places, absent elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toys import ToyTask, toy_config, toy_task, toy_tokenizer

from bertsmith.data.batch import Window
from bertsmith.data.order import sample_rng, step_samples
from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks import TASKS
from bertsmith.training.augmentation import AugmentationSettings, encode_augmented
from bertsmith.training.feed import StepEncoder
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

TOKENIZER = toy_tokenizer()


def encoded(toy: ToyTask, settings: AugmentationSettings, epoch: int = 0) -> list[list[Window]]:
    return [
        encode_augmented(toy.task, sample, TOKENIZER, sample_rng(0, epoch, i), settings)
        for i, sample in enumerate(toy.samples)
    ]


def ids(rows: list[list[Window]]) -> list[Any]:
    return [[np.asarray(window.input_ids).tolist() for window in row] for row in rows]


@pytest.mark.parametrize("name", [name for name in TASKS if name != "pretraining"])
def test_hidden_pieces_are_the_only_difference(name: str) -> None:
    toy = toy_task(name)
    plain, masked = encoded(toy, AugmentationSettings()), encoded(toy, AugmentationSettings(mask_substitution=0.5))
    hidden = total = 0
    for row, other in zip(plain, masked, strict=True):
        for window, changed in zip(row, other, strict=True):
            before, after = np.asarray(window.input_ids), np.asarray(changed.input_ids)
            special = np.isin(before, TOKENIZER.special_ids)
            moved = before != after
            assert not (moved & special).any()
            assert (after[moved] == TOKENIZER.mask_id).all()
            hidden, total = hidden + int(moved.sum()), total + int((~special).sum())
            assert type(changed) is type(window)
            assert {key: np.asarray(value).tolist() for key, value in changed.targets.items()} == {
                key: np.asarray(value).tolist() for key, value in window.targets.items()
            }
    assert abs(hidden / total - 0.5) < 0.15


def test_what_is_drawn_belongs_to_the_sample_and_the_epoch() -> None:
    toy = toy_task("classification")
    settings = AugmentationSettings(word_dropout=0.3, mask_substitution=0.3)
    first, again, later = (ids(encoded(toy, settings, epoch)) for epoch in (0, 0, 1))
    assert first == again
    assert all(one != other for one, other in zip(first, later, strict=True))


def test_the_feed_of_training_augments_and_prediction_does_not() -> None:
    toy = toy_task("classification")
    settings = AugmentationSettings(word_dropout=0.5)
    feed = StepEncoder(toy.task, TOKENIZER, toy.samples, 8, 8192, 0, augmentation=settings)
    order = step_samples(0, 8, 8, 0)[1].tolist()
    by_sample = dict(zip(order, ids(feed.windows(0)), strict=True))
    assert [by_sample[i] for i in range(8)] == ids(encoded(toy, settings))
    assert by_sample[0] != ids(encoded(toy, AugmentationSettings()))[0]
    network = toy.task.build(toy_config())
    predictor = Predictor(toy.task, network, TOKENIZER, "fp32")
    assert ids([predictor.encode(sample) for sample in toy.samples]) == ids(encoded(toy, AugmentationSettings()))


@pytest.mark.parametrize("name", ["token_classification", "question_answering"])
def test_typos_leave_answers_where_they_are(name: str) -> None:
    toy = toy_task(name)
    plain, noisy = encoded(toy, AugmentationSettings()), encoded(toy, AugmentationSettings(typo_rate=1.0))
    assert ids(plain) != ids(noisy)
    if name == "question_answering":
        for sample, [window] in zip(toy.samples, noisy, strict=True):
            if sample.answer:
                start, end = window.targets["start"], window.targets["end"]
                assert 0 < start <= end
    else:
        for [window], [other] in zip(plain, noisy, strict=True):
            assert window.targets["labels"].tolist() == other.targets["labels"].tolist()


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (
            "token_classification",
            {"word_dropout": 0.1},
            "word_dropout: answers of token_classification stand at places",
        ),
        ("question_answering", {"word_dropout": 0.1}, "typo_rate and mask_substitution do not"),
        ("pretraining", {"mask_substitution": 0.1}, "mask_substitution: pretraining learns from a corpus as it is"),
        ("pretraining", {"typo_rate": 0.1}, "typo_rate: pretraining"),
    ],
)
def test_what_would_spoil_answers_is_refused_before_the_first_step(name: str, values: Any, said: str) -> None:
    toy = toy_task(name)
    settings = TrainingSettings(max_steps=1, augmentation=AugmentationSettings(**values))
    network = toy.task.build(toy_config())
    before = next(network.parameters()).clone()
    with pytest.raises(SettingsError, match=said):
        train(toy.task, network, TOKENIZER, toy.samples, settings)
    assert torch.equal(before, next(network.parameters()))
