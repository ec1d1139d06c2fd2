"""The encoder and its variants: sequences never meet, shapes and parameter counts are the published ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import toy_config

from bertsmith.errors import DataError, SettingsError
from bertsmith.model.attention import Capture
from bertsmith.model.encoder import Encoder, layer_index
from bertsmith.model.networks import BareNetwork, PretrainingNetwork, TokenNetwork
from bertsmith.model.packed import Packed
from bertsmith.model.presets import PRESETS, preset

VARIANTS: dict[str, dict[str, Any]] = {
    "bert": {},
    "sinusoidal": {"positions": {"kind": "sinusoidal"}},
    "rotary": {"positions": {"kind": "rotary"}},
    "gated": {"feed_forward": {"kind": "gated", "activation": "silu"}},
    "pre-norm": {"normalization": {"kind": "layer_norm", "placement": "pre"}},
    "rms": {"normalization": {"kind": "rms_norm"}},
    "albert": {"num_hidden_layers": 4, "num_distinct_layers": 1, "embedding_size": 16},
}
variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())


def encoder(**changes: Any) -> Encoder:
    torch.manual_seed(0)
    return BareNetwork(toy_config(**changes)).encoder.eval()


@variant
def test_a_sequence_does_not_see_its_neighbours(changes: dict[str, Any]) -> None:
    network = encoder(**changes)
    sequences = [[2, 7, 8, 3], [2, 9, 3], [2, 10, 11, 12, 13, 14, 3]]
    packed = Packed.of(sequences)
    for alone, within in zip(sequences, packed.split(network(packed)), strict=True):
        torch.testing.assert_close(network(Packed.of([alone])), within, atol=1e-5, rtol=1e-5)


@variant
def test_states_of_chosen_places_are_those_of_all_with_their_gradients(changes: dict[str, Any]) -> None:
    network = encoder(**changes)
    packed = Packed.of([[2, 7, 8, 3], [2, 9, 3], [2, 10, 11, 12, 13, 14, 3]])
    at = torch.tensor([0, 2, 4, 7, 8, 9, 13])
    weights = torch.randn(len(at), network.config.hidden_size)
    gradients = []
    for states in (network(packed)[at], network(packed, at=at)):
        network.zero_grad()
        (states * weights).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    torch.testing.assert_close(network(packed, at=at), network(packed)[at], atol=1e-5, rtol=1e-5)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=2e-5, rtol=1e-4)


def test_whoever_wants_to_see_every_layer_gets_chosen_places_too() -> None:
    network = encoder()
    packed, at = Packed.of([[2, 7, 8, 3], [2, 9, 3]]), torch.tensor([0, 3, 4])
    capture = Capture(want_hidden_states=True)
    states = network(packed, capture, at)
    assert torch.equal(states, network(packed)[at])
    assert [len(each) for each in capture.hidden_states] == [7, 7, 7]


@variant
def test_every_parameter_is_trained(changes: dict[str, Any]) -> None:
    network = encoder(**changes).train()
    packed = Packed.of([[2, 7, 8, 3, 9, 3], [2, 9, 3]], [[0, 0, 0, 0, 1, 1], [0, 0, 0]])
    out = network(packed)
    (out * torch.randn_like(out)).sum().backward()
    # A key's bias adds the same to all scores of a query, which softmax does not see: its gradient is 0 in theory.
    untouched = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in untouched if not name.endswith("key.bias")] == []


@variant
def test_order_matters(changes: dict[str, Any]) -> None:
    network = encoder(**changes, initializer_range=0.2)
    forwards, backwards = network(Packed.of([[2, 7, 8, 3]])), network(Packed.of([[2, 8, 7, 3]]))
    assert not torch.allclose(forwards[0], backwards[0], atol=1e-4)


def test_rotary_scores_depend_on_distances_only() -> None:
    network = encoder(positions={"kind": "rotary"})
    packed = Packed.of([[2, 7, 8, 3]])
    shifted = Packed(packed.input_ids, packed.token_type_ids, packed.position_ids + 11, packed.lengths)
    torch.testing.assert_close(network(packed), network(shifted), atol=1e-5, rtol=1e-5)


def test_sinusoids_are_those_of_the_paper() -> None:
    # Vaswani et al. 2017, section 3.5, by hand for width 4: PE(pos, 0) = sin(pos), PE(pos, 1) = cos(pos),
    # PE(pos, 2) = sin(pos / 100), PE(pos, 3) = cos(pos / 100).
    from bertsmith.model.positions import Sinusoidal

    added = Sinusoidal(4, 10_000.0).added(torch.tensor([0, 1, 2]))
    expected = [[0, 1, 0, 1], [0.841471, 0.540302, 0.0099998, 0.99995], [0.909297, -0.416147, 0.0199987, 0.9998]]
    torch.testing.assert_close(added, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_capture_keeps_every_layer_by_sequence() -> None:
    network = encoder()
    packed = Packed.of([[2, 7, 8, 3], [2, 3]])
    capture = Capture(want_hidden_states=True, want_attentions=True)
    last = network(packed, capture)
    assert [tuple(states.shape) for states in capture.hidden_states] == [(6, 32)] * 3
    torch.testing.assert_close(capture.hidden_states[-1], last)
    assert [[tuple(a.shape) for a in layer] for layer in capture.attentions] == [[(2, 4, 4), (2, 2, 2)]] * 2
    torch.testing.assert_close(capture.attentions[0][0].sum(-1), torch.ones(2, 4))


@pytest.mark.parametrize(
    ("name", "millions"),
    # Encoder, pooler and embeddings with BERT's vocabulary: Turc et al. 2019, table 1 (BERT-large: Devlin et al. 2019).
    [("tiny", 4.4), ("mini", 11.2), ("small", 28.8), ("medium", 41.4), ("base", 109.5), ("large", 335.1)],
)
def test_presets_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = BareNetwork(preset(name))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_shared_layers_are_taken_by_neighbours() -> None:
    config = toy_config(num_hidden_layers=6, num_distinct_layers=2)
    assert [layer_index(config, i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert len(Encoder(config).layers) == 2


def test_vocabulary_logits_are_computed_only_where_asked() -> None:
    torch.manual_seed(0)
    network = PretrainingNetwork(toy_config()).eval()
    packed = Packed.of([[2, 4, 8, 3], [2, 4, 3]])
    everywhere = network(packed).tokens
    some = network(packed, torch.tensor([1, 5])).tokens
    assert everywhere is not None
    assert some is not None
    assert some.shape == (2, toy_config().vocab_size)
    torch.testing.assert_close(some, everywhere[[1, 5]], atol=1e-5, rtol=1e-5)


def test_a_sequence_beyond_the_positions_is_refused_by_number() -> None:
    with pytest.raises(DataError, match="65 tokens exceeds the model's 64 positions"):
        encoder()(Packed.of([[5] * 65]))


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=9), min_size=1, max_size=6))
def test_packing_keeps_every_id_in_its_place(sequences: list[list[int]]) -> None:
    packed = Packed.of(sequences)
    assert [part.tolist() for part in packed.split(packed.input_ids)] == sequences
    assert [part.tolist() for part in packed.split(packed.position_ids)] == [list(range(len(s))) for s in sequences]
    assert packed.input_ids[packed.starts].tolist() == [sequence[0] for sequence in sequences]


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    torch.manual_seed(0)
    network = TokenNetwork(toy_config(hidden_dropout_prob=0.5), 2)
    packed = Packed.of([[2, 7, 8, 3]])
    assert not torch.equal(network.train()(packed), network(packed))
    assert torch.equal(network.eval()(packed), network(packed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 30, "num_attention_heads": 4}, "not a multiple"),
        ({"hidden_size": 6, "num_attention_heads": 2, "positions": {"kind": "rotary"}}, "even width"),
        ({"num_hidden_layers": 2, "num_distinct_layers": 3}, "exceeds num_hidden_layers"),
        ({"pad_token_id": 99}, "outside the vocabulary"),
        ({"hidden_sizes": 3}, "did you mean 'hidden_size'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
    ],
)
def test_impossible_shapes_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        toy_config(**changes)


def test_unknown_size_suggests_the_nearest() -> None:
    assert len(PRESETS) == 6
    with pytest.raises(SettingsError, match="did you mean 'large'"):
        preset("larg")
