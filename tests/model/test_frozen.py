"""Copies for prediction: which part becomes what, what they compute, and that they are never saved."""

from __future__ import annotations

import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toys import toy_config

from bertsmith.errors import SettingsError
from bertsmith.kernels import native_ops
from bertsmith.kernels.library import engine
from bertsmith.kernels.linear import FrozenLinear
from bertsmith.kernels.packed_weights import PackedLinear
from bertsmith.model.attention import Capture
from bertsmith.model.checkpoints import save_weights
from bertsmith.model.encoder import EncoderLayer
from bertsmith.model.frozen import FrozenLayer, frozen, is_batch_invariant
from bertsmith.model.networks import BareNetwork, PretrainingNetwork, Seq2SeqNetwork, SequenceNetwork
from bertsmith.model.packed import Packed
from bertsmith.runtime.device import has_bf16

needs_bf16 = pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="bf16 is emulated here")
needs_kernels = pytest.mark.skipif(engine().library is None, reason=f"no compiled kernels here: {engine().reason}")
WIDE = {"hidden_size": 64, "intermediate_size": 128}
PACKED = Packed.of([[2, 5, 6, 3], [2, 7, 3], [2, *range(5, 30), 3]])


def kinds(network: nn.Module) -> set[str]:
    wanted = (EncoderLayer, FrozenLayer, FrozenLinear, PackedLinear, nn.Linear)
    return {type(part).__name__ for part in network.modules() if isinstance(part, wanted)}


@needs_kernels
def test_layers_of_berts_shape_go_whole_to_the_kernels() -> None:
    network = SequenceNetwork(toy_config(**WIDE), num_labels=3).eval()
    twin = frozen(network)
    assert kinds(twin) == {"FrozenLayer", "PackedLinear"}
    assert kinds(network) == {"EncoderLayer", "Linear"}
    assert twin.encoder.embeddings.tokens.weight is network.encoder.embeddings.tokens.weight
    assert is_batch_invariant(twin)
    assert not is_batch_invariant(network)


@needs_kernels
@pytest.mark.parametrize(
    "changes",
    [
        {"positions": {"kind": "rotary"}},
        {"normalization": {"kind": "layer_norm", "placement": "pre"}},
        {"normalization": {"kind": "rms_norm"}},
        {"feed_forward": {"kind": "gated"}},
        {"feed_forward": {"kind": "plain", "activation": "relu"}},
        {"num_attention_heads": 4},
        {"hidden_size": 72, "num_attention_heads": 2},
    ],
)
def test_other_layers_keep_their_order_of_work(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = BareNetwork(toy_config(**WIDE | {"initializer_range": 0.2} | changes)).eval()
    twin = frozen(network)
    assert "EncoderLayer" in kinds(twin)
    assert not is_batch_invariant(twin)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            ours = twin(PACKED)[0].float()
        expected = network(PACKED)[0]
    assert (ours - expected).norm() < 0.03 * expected.norm()
    with pytest.raises(SettingsError, match="int8 is for layers as BERT's"):
        frozen(network, "int8")


@needs_kernels
@pytest.mark.parametrize(("number", "allowed"), [("bf16", 0.02), ("int8", 0.05)])
@pytest.mark.parametrize("num_distinct_layers", [None, 1])
def test_the_copy_computes_the_same(number: Any, allowed: float, num_distinct_layers: int | None) -> None:
    torch.manual_seed(0)
    config = toy_config(**WIDE, initializer_range=0.2, num_distinct_layers=num_distinct_layers)
    network = BareNetwork(config).eval()
    twin = frozen(network, number)
    capture = Capture(want_hidden_states=True)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            ours, pooled = twin(PACKED, capture)
        expected, expected_pooled = network(PACKED)
    assert pooled is not None
    assert expected_pooled is not None
    assert (ours.float() - expected).norm() < allowed * expected.norm()
    assert (pooled.float() - expected_pooled).norm() < allowed * expected_pooled.norm()
    assert len(capture.hidden_states) == config.num_hidden_layers + 1


@needs_bf16
def test_a_part_that_stands_in_two_places_stays_one() -> None:
    linear = nn.Linear(16, 4)
    twin = frozen(nn.ModuleDict({"one": linear, "other": linear}))
    assert twin["one"] is twin["other"]
    assert type(twin["one"]) in (FrozenLinear, PackedLinear)


@needs_bf16
@pytest.mark.parametrize("width", [32, 64])
def test_a_frozen_copy_can_be_copied_and_pickled_but_not_saved(tmp_path: Path, width: int) -> None:
    network = frozen(BareNetwork(toy_config(hidden_size=width)).eval())
    with torch.inference_mode():
        expected = network(PACKED)[0]
        for again in (deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(again(PACKED)[0], expected)
    with pytest.raises(AssertionError, match="save the original"):
        save_weights(network, tmp_path)


@needs_bf16
def test_without_kernels_the_products_are_onednns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_ops, "is_available", lambda: False)
    network = BareNetwork(toy_config(**WIDE)).eval()
    assert kinds(frozen(network)) == {"EncoderLayer", "FrozenLinear"}
    with pytest.raises(SettingsError, match="int8 needs the compiled kernels"):
        frozen(network, "int8")


@needs_kernels
def test_a_head_through_the_tied_table_is_laid_out_once_and_the_same_in_any_batch() -> None:
    network = PretrainingNetwork(toy_config(**WIDE)).eval()
    twin = frozen(network)
    assert kinds(twin) == {"FrozenLayer", "PackedLinear"}
    assert is_batch_invariant(twin)
    with torch.inference_mode():
        together = PACKED.split(twin(PACKED).tokens)
        for ids, rows in zip(PACKED.split(PACKED.input_ids), together, strict=True):
            assert torch.equal(twin(Packed.of([ids.tolist()])).tokens, rows)
        torch.testing.assert_close(twin(PACKED).tokens.float(), network(PACKED).tokens, atol=0.05, rtol=0.05)


@needs_kernels
def test_a_decoder_may_differ_by_batch() -> None:
    assert not is_batch_invariant(frozen(Seq2SeqNetwork(toy_config(**WIDE)).eval()))


@needs_kernels
def test_a_compiled_copy_computes_the_same() -> None:
    twin = frozen(BareNetwork(toy_config(**WIDE)).eval())
    with torch.inference_mode():
        assert torch.equal(torch.compile(twin, fullgraph=True)(PACKED)[0], twin(PACKED)[0])
