"""Explanations computed on a GPU are those of the CPU, for every task and explainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from on_gpu import DEVICE, needs_gpu
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.explain.explanation import EXPLAINERS, ExplainerSettings, Explanation, explain
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks import TASKS

pytestmark = needs_gpu


def explained(name: str, explainer: str, device: torch.device) -> Explanation:
    torch.manual_seed(0)
    toy = toy_task(name)
    network = toy.task.build(toy_config(initializer_range=0.1)).eval().to(device)
    predictor = Predictor(toy.task, network, toy_tokenizer(), precision="fp32")
    return explain(predictor, toy.requests[2], ExplainerSettings(explainer=explainer, num_random=2))


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("explainer", list(EXPLAINERS))
def test_a_gpu_explains_as_the_cpu_does(name: str, explainer: str) -> None:
    ours, expected = (explained(name, explainer, device) for device in (DEVICE, torch.device("cpu")))
    assert ours.target.name == expected.target.name
    scores = [[word.score for word in found.words] for found in (ours, expected)]
    np.testing.assert_allclose(*scores, rtol=1e-2, atol=1e-4)
    assert ours.attention is not None
    assert expected.attention is not None
    np.testing.assert_allclose(ours.attention.by_head, expected.attention.by_head, atol=1e-4)
