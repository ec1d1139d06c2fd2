"""Devices and precision: what auto means, and bf16 beside fp32."""

from __future__ import annotations

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.errors import SettingsError
from bertsmith.runtime.device import autocast, has_bf16, pick_device, pick_precision, repeatable, sent
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

CPU = torch.device("cpu")


def test_auto_is_bf16_only_where_the_machine_multiplies_it() -> None:
    assert pick_precision("auto", CPU) == ("bf16" if has_bf16(CPU) else "fp32")
    assert pick_precision("fp32", CPU) == "fp32"
    assert pick_device("cpu") == CPU


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match="expected auto, cpu, cuda"):
        pick_device("gpu7")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="this build of torch offer 0"):
            pick_device("cuda")


def test_autocast_multiplies_in_bf16_and_keeps_weights_in_fp32() -> None:
    linear = torch.nn.Linear(4, 4)
    with autocast("bf16", CPU):
        assert linear(torch.ones(2, 4)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert linear(torch.ones(2, 4)).dtype == torch.float32
    assert linear.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["pretraining", "classification", "seq2seq"])
def test_training_in_bf16_follows_training_in_fp32(name: str) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        toy = toy_task(name)
        torch.manual_seed(0)
        settings = TrainingSettings.of({"max_steps": 20, "learning_rate": 1e-3, "precision": precision})
        losses[precision] = train(toy.task, toy.task.build(toy_config()), toy_tokenizer(), toy.samples, settings)
    # bf16 keeps 8 bits: a relative error of 2^-8 a product, which 20 steps may add up to some percent.
    assert losses["bf16"].final_loss == pytest.approx(losses["fp32"].final_loss, rel=0.05)


def test_on_a_cpu_nothing_is_sent_and_all_is_repeatable_as_it_is() -> None:
    tensor = torch.arange(3)
    assert sent(tensor, CPU) is tensor
    with repeatable(CPU):
        assert not torch.are_deterministic_algorithms_enabled()
