"""Frozen linear layers give what the layer gives under autocast."""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from toys import toy_config

from bertsmith.kernels.linear import FrozenLinear, frozen
from bertsmith.model.checkpoints import save_weights
from bertsmith.model.networks import BareNetwork
from bertsmith.model.packed import Packed
from bertsmith.runtime.device import has_bf16

pytestmark = pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="bf16 is emulated here")


@pytest.mark.parametrize("num_tokens", [1, 7, 5000])
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_autocast(num_tokens: int, bias: bool) -> None:
    torch.manual_seed(0)
    linear, values = nn.Linear(96, 80, bias=bias), torch.randn(num_tokens, 96)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            FrozenLinear(linear.weight, linear.bias)(values), linear(values), rtol=2**-7, atol=2**-7
        )


def test_the_copy_has_other_linear_layers_and_the_same_weights_otherwise() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4))).eval()
    twin = frozen(network)
    names = [[type(part).__name__ for part in each.modules()] for each in (network, twin)]
    assert names[0] == ["Sequential", "Linear", "Sequential", "LayerNorm", "Linear"]
    assert names[1] == ["Sequential", "FrozenLinear", "Sequential", "LayerNorm", "FrozenLinear"]
    assert twin[1][0].weight is network[1][0].weight
    assert len(list(network.parameters())) == 6


def test_a_part_that_stands_in_two_places_stays_one() -> None:
    linear = nn.Linear(4, 4)
    twin = frozen(nn.ModuleDict({"one": linear, "other": linear}))
    assert twin["one"] is twin["other"]


def test_a_frozen_copy_can_be_copied_and_pickled_but_not_saved(tmp_path: Path) -> None:
    network = frozen(BareNetwork(toy_config()).eval())
    packed = Packed.of([[2, 5, 6, 3]])
    with torch.inference_mode():
        expected = network(packed)[0]
        for again in (deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(again(packed)[0], expected)
    with pytest.raises(AssertionError, match="save the original"):
        save_weights(network, tmp_path)
