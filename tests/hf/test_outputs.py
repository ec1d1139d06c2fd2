"""Outputs are read by attribute, key and place."""

from __future__ import annotations

import copy

import pytest
import torch

from bertsmith.hf.outputs import LogitsOutput


def test_absent_values_have_no_place_and_no_key() -> None:
    logits = torch.ones(2, 3)
    output = LogitsOutput(logits=logits)
    assert output.loss is None
    assert output.logits is output["logits"] is output[0]
    assert list(output) == ["logits"]
    assert "loss" not in output
    with pytest.raises(KeyError):
        output["loss"]
    with pytest.raises(IndexError):
        output[1]


def test_values_stand_in_the_order_of_the_class() -> None:
    output = LogitsOutput(torch.tensor(1.0), torch.ones(2), hidden_states=(torch.zeros(1),))
    loss, logits = output[:2]
    assert (loss.item(), logits.tolist()) == (1.0, [1.0, 1.0])
    assert output.to_tuple()[2] is output.hidden_states
    assert isinstance(output, dict)


def test_setting_by_either_way_shows_in_both() -> None:
    output = LogitsOutput(logits=torch.ones(1))
    output.loss = torch.tensor(2.0)
    assert output["loss"] is output[0]
    output["logits"] = torch.zeros(1)
    assert output.logits.item() == 0
    output.loss = None
    assert list(output) == ["logits"]
    assert copy.deepcopy(output).logits.item() == 0
