"""Groups of parameters: what decays, and what has a learning rate of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bertsmith.training.optimizer import OptimizerSettings, build_optimizer


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))


def test_groups_by_factor_and_decay() -> None:
    optimizer = build_optimizer(network(), OptimizerSettings(weight_decay=0.1), 0.5, {"0.weight": 0.25, "0.bias": 0.25})
    facts = [
        (group["rate_factor"], group["weight_decay"], group["lr"], len(group["params"]))
        for group in optimizer.param_groups
    ]
    assert facts == [(1.0, 0.1, 0.5, 1), (1.0, 0.0, 0.5, 1), (0.25, 0.1, 0.125, 1), (0.25, 0.0, 0.125, 1)]


def test_frozen_parameters_are_in_no_group() -> None:
    net = network()
    net[0].requires_grad_(False)
    groups = build_optimizer(net, OptimizerSettings(), 1e-3).param_groups
    assert [tuple(map(id, group["params"])) for group in groups] == [(id(net[1].weight),), (id(net[1].bias),)]


def test_the_first_step_is_as_large_as_its_group_s_rate() -> None:
    """Adam's first step is the rate times the gradient's sign, whatever the gradient's size."""
    net = network()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    settings = OptimizerSettings(weight_decay=0.0, adam_epsilon=1e-20)
    optimizer = build_optimizer(net, settings, 0.1, {"0.weight": 0.5, "1.bias": 0.1})
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    steps = [float((p.detach() - old).abs().max()) for p, old in zip(net.parameters(), before, strict=True)]
    assert steps == pytest.approx([0.05, 0.1, 0.1, 0.01], rel=1e-4)
