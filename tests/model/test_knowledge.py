"""Facts beside texts: a sentence tree by hand, and the same numbers as attention with a dense mask gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toys import toy_config

from bertsmith.errors import SettingsError
from bertsmith.kernels import native_ops
from bertsmith.model.attention import Capture
from bertsmith.model.checkpoints import config_to_hugging_face
from bertsmith.model.encoder import Encoder, layer_index
from bertsmith.model.frozen import frozen
from bertsmith.model.knowledge import Knowledge, KnowledgeGraph, SentenceTrees
from bertsmith.model.networks import BareNetwork, SequenceNetwork
from bertsmith.model.normalization import LayerNormalization
from bertsmith.model.packed import Packed
from bertsmith.model.positions import LearnedPositions, RotaryPositions, rotate

TIM, COOK, VISITS, BEIJING, NOW, CEO, APPLE, CAPITAL, CHINA, CITY, PIECE = range(5, 16)
CLS, SEP = 2, 3
GRAPH = KnowledgeGraph.of(
    {
        "entities": [
            {"ids": [TIM, COOK], "branches": [[CEO, APPLE]]},
            {"ids": [BEIJING], "branches": [[CAPITAL, CHINA], [CITY]]},
        ],
        "continuations": [PIECE],
    }
)
SENTENCE = [CLS, TIM, COOK, VISITS, BEIJING, NOW, SEP]


def tree_of(*sentences: list[int], num_positions: int | None = 64) -> SentenceTrees:
    trees = Knowledge(GRAPH).grown(Packed.of(sentences), num_positions)
    assert trees is not None
    return trees


def matrix(trees: SentenceTrees) -> list[str]:
    """Which token (row) sees which (column): `x`; the text's tokens first, then the branches'."""
    places = trees.layout.places
    assert places is not None
    seen = np.zeros((trees.packed.num_tokens, trees.packed.num_tokens), dtype=bool)
    at_query = at_key = 0
    for num_queries, num_keys in zip(trees.layout.query_lengths, trees.layout.key_lengths, strict=True):
        queries, keys = places.queries[at_query : at_query + num_queries], places.keys[at_key : at_key + num_keys]
        seen[np.ix_(queries.numpy(), keys.numpy())] = True
        at_query, at_key = at_query + num_queries, at_key + num_keys
    return ["".join(".x"[int(cell)] for cell in row) for row in seen]


def test_a_sentence_tree_by_hand() -> None:
    # [CLS] Tim Cook visits Beijing now [SEP], as in figure 2 of Liu et al. 2020: Cook's fact counts on from position 2,
    # Beijing's two facts both count on from position 4.
    #
    #                       [CLS] Tim Cook visits Beijing now [SEP] | CEO Apple | capital China | City
    # soft position          0     1   2     3      4      5    6      3    4       5       6      5
    trees = tree_of(SENTENCE)
    assert trees.packed.input_ids.tolist() == [*SENTENCE, CEO, APPLE, CAPITAL, CHINA, CITY]
    assert trees.packed.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 5]
    assert trees.packed.lengths == (7, 2, 2, 1)
    assert matrix(trees) == [
        # CLS Tim Cook visits Beijing now SEP, CEO Apple, capital China, City
        "xxxxxxx....." ,  # [CLS] sees the sentence alone
        "xxxxxxxxx...",  # Tim and Cook see it, and their own fact
        "xxxxxxxxx...",
        "xxxxxxx.....",  # visits
        "xxxxxxx..xxx",  # Beijing sees both of its facts
        "xxxxxxx.....",  # now
        "xxxxxxx.....",  # [SEP]
        ".xx....xx...",  # CEO sees Tim, Cook, itself and Apple
        ".xx....xx...",
        "....x....xx.",  # capital sees Beijing, itself and China, not the other fact
        "....x....xx.",
        "....x......x",  # City
    ]  # fmt: skip


def test_what_is_no_entity() -> None:
    knowledge = Knowledge(GRAPH)
    assert knowledge.grown(Packed.of([[CLS, TIM, VISITS, SEP], [CLS, COOK, TIM]]), 64) is None
    assert knowledge.grown(Packed.of([[CLS, BEIJING, PIECE, SEP]]), 64) is None


def test_a_branch_ends_where_the_positions_do() -> None:
    # Beijing stands at position 4: of 6 positions one is left after it, of 5 none.
    assert tree_of(SENTENCE, num_positions=6).packed.input_ids.tolist()[7:] == [CEO, APPLE, CAPITAL, CITY]
    assert tree_of(SENTENCE, num_positions=5).packed.input_ids.tolist()[7:] == [CEO, APPLE]
    assert len(tree_of(SENTENCE, num_positions=None).packed.input_ids) == 12


def test_branches_have_the_type_of_their_entity() -> None:
    packed = Packed.of([[CLS, TIM, COOK, SEP, BEIJING, SEP]], [[0, 0, 0, 0, 1, 1]])
    trees = Knowledge(GRAPH).grown(packed, 64)
    assert trees is not None
    assert trees.packed.token_type_ids.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1]


# The reference: one sequence at a time, a dense mask from the rule of section 3.4, plain softmax


def branches_of(sentence: list[int]) -> list[tuple[list[int], list[int]]]:
    """(places of the entity, ids of a fact), found by trying every place."""
    found, at = [], 0
    while at < len(sentence):
        for entity in GRAPH.entities:
            end = at + len(entity.ids)
            if tuple(sentence[at:end]) == entity.ids and sentence[end : end + 1] != [PIECE]:
                found += [(list(range(at, end)), list(branch)) for branch in entity.branches]
                at = end - 1
        at += 1
    return found


def dense(encoder: Encoder, sentence: list[int]) -> Tensor:
    """[length, H]: two tokens see each other where they are in one branch; the text is a branch, and each entity with a
    fact is."""
    ids, positions = list(sentence), list(range(len(sentence)))
    members = [set(range(len(sentence)))]
    for entity, fact in branches_of(sentence):
        members.append({*entity, *range(len(ids), len(ids) + len(fact))})
        ids += fact
        positions += [entity[-1] + 1 + i for i in range(len(fact))]
    # A branch is seen by its own tokens; the text's tokens of an entity are in its branches too.
    visible = torch.tensor(
        [[any({i, j} <= each for each in members) for j in range(len(ids))] for i in range(len(ids))]
    )
    packed = replace(Packed.of([ids]), position_ids=torch.tensor(positions))
    hidden = encoder.embeddings(packed, encoder.positions)
    rotation = encoder.positions.rotation(packed.position_ids)
    for i in range(encoder.config.num_hidden_layers):
        layer: Any = encoder.layers[layer_index(encoder.config, i)]

        def attend(states: Tensor, attention: Any = layer.attention) -> Tensor:
            query, key, value = (
                part(states).unflatten(-1, attention.heads_shape)
                for part in (attention.query, attention.key, attention.value)
            )
            if rotation is not None:
                query, key = rotate(query, rotation), rotate(key, rotation)
            scores = torch.einsum("qnd,knd->nqk", query, key) / query.shape[-1] ** 0.5
            weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
            mixed: Tensor = attention.output(torch.einsum("nqk,knd->qnd", weights, value).flatten(1))
            return mixed

        hidden = layer.attention_residual(hidden, attend, None)
        hidden = layer.feed_forward_residual(hidden, layer.feed_forward)
    final: Tensor = encoder.final_norm(hidden)
    return final[: len(sentence)]


def network_of(**changes: Any) -> BareNetwork:
    torch.manual_seed(1)
    network = BareNetwork(toy_config(**{"initializer_range": 0.3, "knowledge": GRAPH, **changes}))
    return network.eval()


SENTENCES = st.lists(
    st.lists(st.sampled_from([TIM, COOK, VISITS, BEIJING, NOW, PIECE, CHINA]), min_size=1, max_size=9),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize("kind", ["learned", "rotary", "pre-norm"])
def test_as_a_dense_mask(kind: str) -> None:
    shape: dict[str, Any] = {"positions": RotaryPositions() if kind == "rotary" else LearnedPositions()}
    if kind == "pre-norm":
        shape["normalization"] = LayerNormalization(placement="pre")
    network = network_of(**shape)

    @settings(max_examples=25, deadline=None)
    @given(SENTENCES)
    def holds(texts: list[list[int]]) -> None:
        sentences = [[CLS, *text, SEP] for text in texts]
        packed = Packed.of(sentences)
        expected = torch.cat([dense(network.encoder, sentence) for sentence in sentences])
        torch.testing.assert_close(network.encoder(packed), expected, atol=1e-5, rtol=1e-4)
        at = torch.tensor(sorted({0, len(expected) - 1}))
        torch.testing.assert_close(network.encoder(packed, at=at), expected[at], atol=1e-5, rtol=1e-4)

    holds()


def test_gradients_as_with_a_dense_mask() -> None:
    gradients = []
    for way in ("packed", "dense"):
        network = network_of()
        if way == "packed":
            out = network.encoder(Packed.of([SENTENCE, [CLS, NOW, SEP]]))
        else:
            out = torch.cat([dense(network.encoder, SENTENCE), dense(network.encoder, [CLS, NOW, SEP])])
        F.mse_loss(out, torch.zeros_like(out) + torch.arange(out.shape[1]) / 10).backward()
        gradients.append([p.grad for p in network.encoder.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_facts_change_their_entity_first_and_texts_without_any_not_at_all() -> None:
    informed, plain = network_of(), network_of(knowledge=None)
    plain.load_state_dict(informed.state_dict())
    packed = Packed.of([[CLS, TIM, NOW, SEP]])
    assert torch.equal(informed.encoder(packed), plain.encoder(packed))
    # In one layer the entity alone sees its facts; the others learn of them through it, in the next.
    shallow = [network_of(num_hidden_layers=1), network_of(num_hidden_layers=1, knowledge=None)]
    shallow[1].load_state_dict(shallow[0].state_dict())
    one, other = (network.encoder(Packed.of([SENTENCE])) for network in shallow)
    differs = (one - other).abs().amax(-1) > 1e-4
    assert differs.tolist() == [False, True, True, False, True, False, False]
    assert (
        (informed.encoder(Packed.of([SENTENCE])) - plain.encoder(Packed.of([SENTENCE]))).abs().amax(-1) > 1e-4
    ).all()


def test_vectors_in_the_place_of_the_tokens_own() -> None:
    network = network_of()
    packed = Packed.of([SENTENCE])
    moved = replace(packed, token_vectors=network.encoder.embeddings.tokens(packed.input_ids))
    torch.testing.assert_close(network.encoder(moved), network.encoder(packed))


def test_what_is_captured_is_of_the_text() -> None:
    network, capture = network_of(), Capture(want_hidden_states=True)
    out = network.encoder(Packed.of([SENTENCE]), capture)
    assert [states.shape for states in capture.hidden_states] == [out.shape] * 3
    assert torch.equal(capture.hidden_states[-1], out)
    with pytest.raises(SettingsError, match="a model with a knowledge graph keeps no attentions"):
        network.encoder(Packed.of([SENTENCE]), Capture(want_attentions=True))


def test_facts_given_later_belong_to_the_config() -> None:
    torch.manual_seed(0)
    network = SequenceNetwork(toy_config(), 2).eval()
    before = network(Packed.of([SENTENCE]))
    assert config_to_hugging_face(network)["model_type"] == "bert"
    network.know(GRAPH)
    assert not torch.equal(network(Packed.of([SENTENCE])), before)
    assert config_to_hugging_face(network)["model_type"] == "bertsmith"
    assert network.encoder.config.knowledge == GRAPH


@pytest.mark.skipif(not native_ops.is_available(), reason="no compiled kernels")
def test_a_copy_for_prediction_has_the_facts() -> None:
    network = network_of(hidden_size=64)
    with torch.inference_mode():
        exact = network.encoder(Packed.of([SENTENCE]))
        rounded = frozen(network).encoder(Packed.of([SENTENCE]))
        plain = network_of(hidden_size=64, knowledge=None)
        plain.load_state_dict(network.state_dict())
        without = plain.encoder(Packed.of([SENTENCE]))
    assert (rounded - exact).abs().max() < 0.1 < (without - exact).abs().max()
    with pytest.raises(SettingsError, match="no knowledge graph"):
        frozen(network, "int8")
