"""The decoder: causal, fed by its own source only, and the same with a cache as without."""

from __future__ import annotations

import pytest
import torch
from toys import toy_config

from bertsmith.model.decoder import DecoderCache
from bertsmith.model.generation import Frame, GenerationSettings, generate
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.model.packed import Packed

SOURCES = [[2, 7, 8, 3], [2, 9, 3], [2, 10, 11, 12, 13, 3]]


@pytest.fixture(params=["learned", "rotary"])
def network(request: pytest.FixtureRequest) -> Seq2SeqNetwork:
    torch.manual_seed(0)
    return Seq2SeqNetwork(toy_config(positions={"kind": request.param}, initializer_range=0.2)).eval()


def test_a_token_does_not_see_those_after_it(network: Seq2SeqNetwork) -> None:
    source = Packed.of(SOURCES[:1])
    short, long = network(source, Packed.of([[2, 20, 21]])), network(source, Packed.of([[2, 20, 21, 22, 23]]))
    torch.testing.assert_close(short, long[:3], atol=1e-5, rtol=1e-5)


def test_each_target_reads_its_own_source(network: Seq2SeqNetwork) -> None:
    targets = [[2, 20], [2, 21, 22, 23], [2]]
    together = Packed.of(targets).split(network(Packed.of(SOURCES), Packed.of(targets)))
    for source, target, logits in zip(SOURCES, targets, together, strict=True):
        torch.testing.assert_close(network(Packed.of([source]), Packed.of([target])), logits, atol=1e-5, rtol=1e-5)
    other = network(Packed.of([SOURCES[1]]), Packed.of([targets[0]]))
    assert not torch.allclose(other, together[0], atol=1e-3)


def test_the_cache_changes_nothing(network: Seq2SeqNetwork) -> None:
    source = Packed.of(SOURCES)
    states = network.encode(source)
    targets = torch.tensor([[2, 20, 21, 22], [2, 23, 24, 25], [2, 26, 27, 28]])
    whole = network.decode(Packed.of(targets.tolist()), states, source.lengths).view(3, 4, -1)
    cache = DecoderCache()
    for step in range(4):
        tokens = targets[:, step]
        packed = Packed(tokens, torch.zeros_like(tokens), torch.full_like(tokens, step), (1, 1, 1))
        logits = network.decode(packed, states, source.lengths, cache)
        torch.testing.assert_close(logits, whole[:, step], atol=1e-5, rtol=1e-5)


def test_greedy_takes_the_likeliest_token_at_every_step(network: Seq2SeqNetwork) -> None:
    source = Packed.of(SOURCES)
    generated = generate(network, source, GenerationSettings(), Frame(2, 3), 6)
    assert len(generated) == 3
    for row, ids in zip(generated, SOURCES, strict=True):
        logits = network(Packed.of([ids]), Packed.of([[2, *row.input_ids]]))
        expected = logits.argmax(-1).tolist()
        assert row.input_ids == expected[: len(row.input_ids)]
        assert row.finished == (3 in expected[:6])
        scores = logits.log_softmax(-1).max(-1).values.tolist()
        assert row.log_probabilities == pytest.approx(scores[: len(row.log_probabilities)], abs=1e-4)


def test_shared_embeddings_are_one_parameter(network: Seq2SeqNetwork) -> None:
    names = [name for name, _ in network.named_parameters() if network.config.vocab_size in _.shape]
    assert names == ["encoder.embeddings.tokens.weight", "vocabulary_head.bias"]
    assert [name for name in network.state_dict() if "embeddings" in name and name.startswith("decoder")] == []
