"""Writing targets: the same as transformers writes with the same weights, and each setting by what it must do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seq2seq_twin import in_transformers
from toys import toy_config

from bertsmith.errors import SettingsError
from bertsmith.kernels.attention import attention_probabilities, draw_layout
from bertsmith.model.decoder import DecoderCache
from bertsmith.model.generation import Frame, Generated, GenerationSettings, generate
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.model.packed import Packed

SOURCES = [[2, 7, 8, 3], [2, 9, 3], [2, 10, 11, 12, 13, 3], [2, 14, 3]]
FRAME = Frame(first_id=2, last_id=3)


def lively(**changes: Any) -> Seq2SeqNetwork:
    """A network with weights so large that its targets differ, end, and are not too sure."""
    torch.manual_seed(0)
    return Seq2SeqNetwork(toy_config(initializer_range=0.25, **changes)).eval()


def written(network: Seq2SeqNetwork, number: int = 8, frame: Frame = FRAME, **settings: Any) -> list[Generated]:
    return generate(network, Packed.of(SOURCES), GenerationSettings.of(settings), frame, number)


def by_transformers(model: Any, number: int = 8, **settings: Any) -> list[list[int]]:
    rows = []
    for source in SOURCES:
        out = model.generate(
            torch.tensor([source]),
            attention_mask=torch.ones(1, len(source), dtype=torch.int64),
            decoder_start_token_id=2,
            eos_token_id=3,
            pad_token_id=0,
            max_new_tokens=number,
            **settings,
        )[0].tolist()[1:]
        rows.append(out[: out.index(3)] if 3 in out else [id for id in out if id != 0])
    return rows


@pytest.mark.peers
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_beams": 3},
        {"num_beams": 4, "length_penalty": 0.0},
        {"num_beams": 4, "length_penalty": 2.0},
        {"num_beams": 3, "no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 1},
        {"num_beams": 2, "min_new_tokens": 5},
        {"min_new_tokens": 3},
    ],
)
def test_targets_are_those_of_transformers(settings: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    for seed in range(3):
        torch.manual_seed(seed)
        network = Seq2SeqNetwork(toy_config(initializer_range=0.2)).eval()
        with torch.no_grad():
            network.vocabulary_head.bias[3] += 2.0  # so that some end early
        expected = by_transformers(in_transformers(network), **settings)
        assert [target.input_ids for target in written(network, **settings)] == expected


@pytest.mark.peers
@pytest.mark.parametrize("settings", [{"no_repeat_ngram_size": 1}, {"num_beams": 3, "no_repeat_ngram_size": 2}])
def test_the_first_token_counts_among_those_not_repeated(settings: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    network = lively()
    with torch.no_grad():
        network.vocabulary_head.bias[2] += 5.0  # so that it would be written again
    assert any(2 in target.input_ids for target in written(network))
    expected = by_transformers(in_transformers(network), **settings)
    assert [target.input_ids for target in written(network, **settings)] == expected


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True, "top_k": 5}])
def test_a_source_gets_the_same_target_alone_and_among_others(settings: dict[str, Any]) -> None:
    network = lively()
    together = written(network, **settings)
    for place, source in enumerate(SOURCES):
        (alone,) = generate(network, Packed.of([source]), GenerationSettings.of(settings), FRAME, 8)
        assert alone.input_ids == together[place].input_ids
        assert alone.log_probabilities == pytest.approx(together[place].log_probabilities, abs=1e-4)


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True}])
def test_targets_are_the_same_written_a_few_at_a_time(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = Frame(2, 3, [[20], [], [21, 22], []])
    together = written(lively(), frame=frame, **settings)
    monkeypatch.setattr("bertsmith.model.generation.MAX_ROWS", 6)
    few = written(lively(), frame=frame, **settings)
    assert [target.input_ids for target in few] == [target.input_ids for target in together]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True}])
def test_log_probabilities_are_those_of_the_whole_target(settings: dict[str, Any]) -> None:
    network = lively()
    for source, target in zip(SOURCES, written(network, **settings), strict=True):
        ids = [*target.input_ids, *([3] if target.finished else [])]
        logits = network(Packed.of([source]), Packed.of([[2, *ids[:-1]]]))
        expected = logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None]).squeeze(-1)
        assert target.log_probabilities == pytest.approx(expected.tolist(), abs=1e-4)


def test_more_beams_find_what_is_more_probable() -> None:
    network = lively()
    totals = [
        sum(sum(target.log_probabilities) for target in written(network, num_beams=k, length_penalty=0.0))
        for k in (2, 16)
    ]
    assert totals[1] >= totals[0] - 1e-5


def test_the_best_of_all_targets_is_found_where_beams_are_enough() -> None:
    """Two tokens over a vocabulary of V: V beams lose none, so the best of all V * V is known by looking at each."""
    network = lively()
    vocabulary = network.config.vocab_size
    source = SOURCES[0]
    first = network(Packed.of([source]), Packed.of([[2]])).detach().log_softmax(-1)[0]
    best = float(first[3])  # the empty target
    for token in range(vocabulary):
        if token != 3:
            second = network(Packed.of([source]), Packed.of([[2, token]])).detach().log_softmax(-1)[1]
            best = max(best, float(first[token] + second.max()))
    settings = GenerationSettings(num_beams=min(64, vocabulary), length_penalty=0.0)
    (found,) = generate(network, Packed.of([source]), settings, FRAME, 2)
    assert sum(found.log_probabilities) == pytest.approx(best, abs=1e-4)


def test_no_tokens_in_a_row_are_written_twice() -> None:
    for target in (
        *written(lively(), 12, no_repeat_ngram_size=2),
        *written(lively(), 12, num_beams=3, no_repeat_ngram_size=2),
    ):
        pairs = list(zip(target.input_ids, target.input_ids[1:], strict=False))
        assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}])
def test_what_is_kept_of_what_is_written_is_bounded(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network, sizes = lively(), []
    with torch.no_grad():
        network.vocabulary_head.bias[3] = -20.0  # so that none ends
    extend = DecoderCache.extend

    def watched(cache: DecoderCache, *arguments: Any) -> Any:
        found = extend(cache, *arguments)
        sizes.append(sum(store.nbytes for store in cache.stores))
        return found

    monkeypatch.setattr(DecoderCache, "extend", watched)
    together = written(network, 20, **settings)
    step_bytes = 2 * 2 * 32 * 4  # keys and values of two layers, 32 wide, in single precision
    assert max(sizes) == 32 * step_bytes * len(SOURCES) * settings.get("num_beams", 1)
    sizes.clear()
    monkeypatch.setattr("bertsmith.model.generation.MAX_STORE_BYTES", 32 * step_bytes * 2)
    few = written(network, 20, **settings)
    assert max(sizes) == 32 * step_bytes * 2
    assert [target.input_ids for target in few] == [target.input_ids for target in together]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True}])
def test_lengths_are_kept(settings: dict[str, Any]) -> None:
    network = lively()
    with torch.no_grad():
        network.vocabulary_head.bias[3] = 20.0
    assert all(target.input_ids == [] and target.finished for target in written(network, **settings))
    for target in written(network, 7, min_new_tokens=4, **settings):
        assert 4 <= len(target.input_ids) <= 7
    with torch.no_grad():
        network.vocabulary_head.bias[3] = -20.0
    assert all(len(target.input_ids) == 7 and not target.finished for target in written(network, 7, **settings))


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True}])
def test_a_prefix_comes_first_and_is_given(settings: dict[str, Any]) -> None:
    prefixes = [[20, 21], [], [22], [20, 20, 20]]
    for prefix, target in zip(prefixes, written(lively(), frame=Frame(2, 3, prefixes), **settings), strict=True):
        assert target.input_ids[: len(prefix)] == prefix
        assert target.log_probabilities[: len(prefix)] == [0.0] * len(prefix)


def test_what_is_drawn_has_its_probability() -> None:
    """The first token to one source, by 1,000 seeds."""
    network = lively()
    probabilities = network(Packed.of([SOURCES[0]]), Packed.of([[2]])).softmax(-1)[0]
    counts = torch.zeros_like(probabilities)
    for seed in range(1000):
        settings = GenerationSettings(do_sample=True, sampling_seed=seed)
        (target,) = generate(network, Packed.of([SOURCES[0]]), settings, FRAME, 1)
        counts[target.input_ids[0] if target.input_ids else 3] += 1
    # Of 1,000 draws a share is within 4 standard errors, 4 * sqrt(0.25 / 1000) = 0.063 at most.
    assert (counts / 1000 - probabilities).abs().max() < 0.063


def test_only_the_likeliest_are_drawn_from() -> None:
    network = lively()
    ordered = network(Packed.of([SOURCES[0]]), Packed.of([[2]])).softmax(-1)[0].sort(descending=True)
    number = int((ordered.values.cumsum(0) < 0.5).sum()) + 1  # the fewest that make up a half
    for settings, allowed in (
        ({"top_k": 2}, ordered.indices[:2]),
        ({"top_p": 0.5}, ordered.indices[:number]),
        ({"temperature": 1e-4}, ordered.indices[:1]),
        ({"temperature": 1e-60}, ordered.indices[:1]),
    ):
        drawn = set()
        for seed in range(60):
            values = GenerationSettings.of({"do_sample": True, "sampling_seed": seed, **settings})
            (target,) = generate(network, Packed.of([SOURCES[0]]), values, FRAME, 1)
            drawn.add(target.input_ids[0] if target.input_ids else 3)
        assert drawn <= set(allowed.tolist())
    assert len(drawn) == 1


def test_coverage_prefers_targets_that_look_at_the_whole_source() -> None:
    """Wu et al. 2016, equation 14: the score of every finished target has the logarithm of what was looked at added."""
    network = lively()
    # In three steps not every token of a source is looked at by a whole step's attention.
    plain, covered = (written(network, 3, num_beams=8, coverage_penalty=weight) for weight in (0.0, 50.0))
    assert any(a.input_ids != b.input_ids for a, b in zip(plain, covered, strict=True))
    penalties = [
        [_coverage(network, source, target) for source, target in zip(SOURCES, targets, strict=True)]
        for targets in (plain, covered)
    ]
    assert sum(penalties[1]) > sum(penalties[0])


def _coverage(network: Seq2SeqNetwork, source: list[int], target: Generated) -> float:
    """By hand: the attention of the last layer on the source, from the whole target at once."""
    seen: list[torch.Tensor] = []
    attention = network.decoder.layers[-1].cross_attention
    states = network.encode(Packed.of([source]))

    def look(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        query = output.unflatten(-1, attention.heads_shape)
        key, _ = attention.project_keys(states)
        seen.append(attention_probabilities(query, key, draw_layout([len(query)], [len(source)]))[0].mean(0))

    hook = attention.query.register_forward_hook(look)
    ids = [*target.input_ids, *([3] if target.finished else [])]
    network.decode(Packed.of([[2, *ids[:-1]]]), states, (len(source),))
    hook.remove()
    return float(seen[0].detach().sum(0).clamp(max=1.0).log().sum())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"do_sample": True, "num_beams": 2}, "do_sample draws one target"),
        ({"temperature": 0.5}, "temperature: without a meaning where no token is drawn; add do_sample"),
        ({"coverage_penalty": 0.2}, "coverage_penalty: of a meaning between beams alone; set num_beams above 1"),
        ({"length_penalty": 0.5}, "length_penalty: of a meaning between beams alone"),
        ({"num_beams": 2, "length_penalty": 1000}, "length_penalty: .* less than or equal to 10"),
        ({"num_beams": 2, "length_penalty": -1000}, "length_penalty: .* greater than or equal to -10"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens 9 exceeds"),
        ({"num_beams": 0}, "num_beams"),
    ],
)
def test_settings_that_do_not_agree_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        GenerationSettings.of(settings)
