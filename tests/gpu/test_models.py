"""Networks on a GPU against `transformers` there, and the bf16 copies that predict against the networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from on_gpu import DEVICE, needs_gpu, needs_its_kernels
from torch import Tensor
from toys import toy_config

import bertsmith
from bertsmith.model.frozen import frozen, frozen_parts, is_batch_invariant
from bertsmith.model.half_layer import HalfLayer
from bertsmith.model.networks import BareNetwork, PretrainingNetwork
from bertsmith.model.packed import Packed
from bertsmith.runtime.device import autocast

CLASSES = [
    "BertModel",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
]
LENGTHS = [40, 3, 64, 17, 33]
CONFIG = {
    "vocab_size": 200,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def padded() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(5, 200, mask.shape, generator=generator) * mask
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    return {name: value.to(DEVICE) for name, value in given.items()}


def both(name: str, folder: Path) -> tuple[Any, Any]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    model = getattr(transformers, name)(transformers.BertConfig(**CONFIG)).eval()
    model.save_pretrained(folder)
    return getattr(bertsmith, name).from_pretrained(folder).to(DEVICE).eval(), model.to(DEVICE)


def real(output: Any, mask: Tensor) -> Tensor:
    """All values at real tokens, or of whole rows, in one line."""
    parts = [value[mask.bool()] if value.shape[:2] == mask.shape else value for value in output.values()]
    return torch.cat([part.float().flatten() for part in parts])


def distance(given: Tensor, expected: Tensor) -> float:
    return float((given - expected).norm() / expected.norm())


@needs_gpu
@pytest.mark.peers
@pytest.mark.parametrize("name", CLASSES)
@torch.no_grad()
def test_outputs_are_transformers(name: str, tmp_path: Path) -> None:
    ours, theirs = both(name, tmp_path)
    given = padded()
    exact = real(theirs(**given), given["attention_mask"])
    assert distance(real(ours(**given), given["attention_mask"]), exact) < 1e-5
    with autocast("bf16", DEVICE):
        rounded = distance(real(ours(**given), given["attention_mask"]), exact)
    their_rounded = distance(real(theirs.bfloat16()(**given), given["attention_mask"]), exact)
    assert rounded < max(0.01, 1.2 * their_rounded)


@needs_gpu
@pytest.mark.peers
@pytest.mark.parametrize("name", CLASSES)
def test_gradients_are_transformers(name: str, tmp_path: Path) -> None:
    ours, theirs = both(name, tmp_path)
    given = padded()
    gradients = []
    for model in (ours, theirs):
        output = real(model(**given), given["attention_mask"])
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(3)).to(DEVICE)
        table = next(p for key, p in model.named_parameters() if tuple(p.shape) == (200, 128))
        gradients.append(torch.autograd.grad((output * weights).sum(), table)[0])
    assert distance(gradients[0], gradients[1]) < 1e-4


def packed() -> Packed:
    generator = torch.Generator().manual_seed(0)
    return Packed.of([torch.randint(5, 40, (length,), generator=generator).numpy() for length in LENGTHS])


@needs_its_kernels
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@torch.inference_mode()
def test_a_bf16_copy_is_as_near_fp32_as_autocast(activation: str) -> None:
    changes: dict[str, Any] = {"hidden_size": 128, "initializer_range": 0.1, "num_hidden_layers": 4}
    torch.manual_seed(0)
    config = toy_config(**changes, feed_forward={"kind": "plain", "activation": activation})
    network = BareNetwork(config).to(DEVICE).eval()
    copied = frozen(network)
    assert sum(isinstance(part, HalfLayer) for part in copied.modules()) == 4
    assert frozen_parts(copied)
    assert not is_batch_invariant(copied)
    given = packed().to(DEVICE)
    exact = network(given)[0]
    with autocast("bf16", DEVICE):
        by_autocast, by_copy = (distance(each(given)[0].float(), exact) for each in (network, copied))
    assert by_copy < max(0.01, 1.5 * by_autocast)


@needs_gpu
@torch.inference_mode()
def test_places_that_are_asked_for_are_those_of_all() -> None:
    torch.manual_seed(0)
    network = PretrainingNetwork(toy_config(initializer_range=0.2)).to(DEVICE).eval()
    given, at = packed().to(DEVICE), torch.tensor([1, 40, 44, 109, 150])
    some, everywhere = network(given, at), network(given)
    torch.testing.assert_close(some.tokens, everywhere.tokens[at.to(DEVICE)], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(some.sentences, everywhere.sentences, atol=1e-5, rtol=1e-4)
