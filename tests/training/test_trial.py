"""Timed steps leave nothing behind, and a number of steps is the largest that ends in time."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.model.flops import counted_flops
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train
from bertsmith.training.trial import LEAST_STEPS, MOST_STEPS, run_trial, steps_within

SETTINGS = TrainingSettings(per_device_train_batch_size=4, precision="fp32", max_steps=9, device="cpu")


@pytest.mark.parametrize("name", ["classification", "pretraining"])
def test_a_trial_changes_no_weight_and_no_random_number(name: str) -> None:
    toy = toy_task(name)
    network = toy.task.build(toy_config(hidden_dropout_prob=0.2))
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    run_trial(toy.task, network, toy_tokenizer(), toy.samples, SETTINGS, seconds=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())


def test_steps_are_counted_by_the_clock() -> None:
    """A clock that ticks once each time it is asked: each step takes one second of it."""
    toy = toy_task("classification")
    network = toy.task.build(toy_config())
    for seconds, expected in ((0, LEAST_STEPS), (12, 10), (1000, MOST_STEPS)):
        ticks = count()
        trial = run_trial(
            toy.task, network, toy_tokenizer(), toy.samples, SETTINGS, seconds=seconds, clock=lambda t=ticks: next(t)
        )
        assert trial.step_seconds == (1.0,) * expected
        assert trial.seconds == 1.0
    settings = SETTINGS.model_copy(update={"max_steps": MOST_STEPS})
    with counted_flops(network) as flops:
        result = train(toy.task, network, toy_tokenizer(), toy.samples, settings)
    assert (trial.num_tokens, trial.flops) == (result.num_tokens, flops.total)


def test_the_steps_of_a_time_are_the_most_that_end_in_it() -> None:
    def aside(num_steps: int) -> float:
        return 3.0 * -(-num_steps // 10)

    for seconds in (0.5, 2.0, 7.0, 100.0, 12345.6):
        found = steps_within(seconds, 0.7, aside)
        assert found >= 1
        assert found == 1 or found * 0.7 + aside(found) <= seconds
        assert (found + 1) * 0.7 + aside(found + 1) > seconds
