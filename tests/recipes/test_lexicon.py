"""Dictionaries from parallel text: scores by hand, and a model in which translations have equal vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import toy_config

import bertsmith
from bertsmith.artifact import Artifact, save_artifact
from bertsmith.cli.main import main
from bertsmith.data.readers import read_table
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import load
from bertsmith.inference.word_vectors import TextWords, middle_layer, word_vectors
from bertsmith.metrics.similarity import mutual_nearest
from bertsmith.model.attention import Capture
from bertsmith.model.packed import Packed
from bertsmith.recipes.lexicon import Entry, LexiconSettings, Links, entries_of, lexicon
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.text.tokenizer import Tokenizer

EN, DE = ("dog", "cat", "sees", "the", "bird"), ("hund", "katze", "sieht", "den", "vogel")
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *EN, *DE, ".", "##s"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose embeddings of a word and its translation are equal, wherever they stand."""
    tokenizer = Tokenizer.from_vocab(TOKENS)
    torch.manual_seed(0)
    network = Pretraining().build(toy_config(vocab_size=len(TOKENS)))
    with torch.no_grad():
        table = network.encoder.embeddings.tokens.weight
        table[5 + len(EN) : 5 + len(EN) + len(DE)] = table[5 : 5 + len(EN)]
        network.encoder.positions.table.weight.zero_()  # type: ignore[union-attr, operator]
    folder = tmp_path_factory.mktemp("lexicon") / "model"
    save_artifact(folder, Artifact(Pretraining(), network, tokenizer))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    pairs = [
        ("The dog sees the cat.", "Den Hund sieht den Katze."),
        ("Dog!", "Hund!"),
        ("the cat sees dogs", "den Katze sieht Hunds"),
        ("bird", "vogel"),
    ]
    for side, name in enumerate(("en.txt", "de.txt")):
        (tmp_path / name).write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    return [tmp_path / "en.txt", tmp_path / "de.txt"]


def test_scores_by_hand() -> None:
    links = Links()
    links.source.update({"dog": 5, "animal": 5})
    links.target.update({"hund": 5, "tier": 4})
    links.linked.update({("dog", "hund"): 4, ("animal", "tier"): 3, ("animal", "hund"): 1, ("dog", "tier"): 1})
    links.similarities.update(dict.fromkeys(links.linked, 1.5))
    assert entries_of(links, min_count=1) == [
        Entry("dog", "hund", 2 * 4 / (5 + 5), 1.5 / 4, 4, 5, 5),
        Entry("animal", "tier", 2 * 3 / (5 + 4), 1.5 / 3, 3, 5, 4),
    ]
    assert [entry.target for entry in entries_of(links, min_count=4)] == ["hund"]


def test_mutual_neighbours() -> None:
    cosines = np.array([[0.9, 0.2, 0.1], [0.8, 0.1, 0.1]])
    assert mutual_nearest(cosines) == [(0, 0)]
    assert mutual_nearest(np.empty((0, 3))) == []


def test_marks_and_unknown_words_are_linked_to_nothing() -> None:
    links = Links()
    words = TextWords(("dog", "!", "qx"), np.eye(3, dtype=np.float32), np.array([True, True, False]), 1)
    links.add(words, words)
    assert links.linked == {("dog", "dog"): 1}
    assert (links.num_unknown, links.num_cut) == ([1, 1], 2)


def test_the_dictionary_of_a_model_that_knows_it(model: Path, files: list[Path]) -> None:
    found = bertsmith.lexicon({"files": files, "model": model, "layer": 0, "min_count": 1, "device": "cpu"})
    assert {(entry.source, entry.target) for entry in found.entries} == {*zip(EN, DE, strict=True), ("dogs", "hunds")}
    by_source = {entry.source: entry for entry in found.entries}
    # "the" stands twice in the first pair, and of two equal columns the first is the neighbour of both: one link.
    assert (by_source["dog"].count, by_source["dog"].source_count, by_source["dog"].score) == (2, 2, 1.0)
    assert (by_source["the"].count, by_source["the"].source_count) == (2, 3)
    assert by_source["cat"].similarity == pytest.approx(1, abs=0.01)
    assert found.num_pairs == 4


@pytest.mark.parametrize("layer", [None, 1, 2])
def test_vectors_are_the_mean_of_a_words_pieces(model: Path, layer: int | None) -> None:
    predictor = load(model, device="cpu", precision="fp32")
    one, two = word_vectors(predictor, ["Dogs see.", ""], layer)
    assert one.words == ("dogs", "see", ".")
    assert one.is_known.tolist() == [True, False, True]
    assert np.linalg.norm(one.vectors, axis=1) == pytest.approx(1)
    assert (two.words, len(two.vectors)) == ((), 0)
    pieces = ["[CLS]", "dog", "##s", "[UNK]", ".", "[SEP]"]
    capture = Capture(want_hidden_states=True)
    with torch.inference_mode():
        predictor.network.encoder(Packed.of([[TOKENS.index(piece) for piece in pieces]]), capture)
    hidden = capture.hidden_states[middle_layer(predictor, layer)].numpy()
    means = np.stack([hidden[1:3].mean(0), hidden[3], hidden[4]])
    assert one.vectors == pytest.approx(means / np.linalg.norm(means, axis=1, keepdims=True), abs=1e-5)
    packed_alone = next(word_vectors(predictor, ["Dogs see."], layer))
    assert packed_alone.vectors == pytest.approx(one.vectors, abs=1e-5)


def test_layers(model: Path) -> None:
    predictor = load(model, device="cpu")
    assert middle_layer(predictor, None) == 1
    with pytest.raises(SettingsError, match="layer 3: the model has layers 1 to 2"):
        middle_layer(predictor, 3)


def test_a_language_that_the_model_does_not_know(model: Path, files: list[Path], tmp_path: Path) -> None:
    french = tmp_path / "fr.txt"
    french.write_text("le chien voit le chat\nchien\nle chat\nl'oiseau\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"fr\.txt: 100% of the words are not in the vocabulary of .*model: it was not"):
        lexicon(LexiconSettings(files=(files[0], french), model=model, device="cpu"))


@pytest.mark.parametrize("name", ["words.tsv", "words.jsonl"])
def test_the_verb_writes_a_table(
    model: Path, files: list[Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", model, "--layer", 0, "--min-count", 2, "--output-file", tmp_path / name, "--json"]
    assert main([str(word) for word in ("lexicon", *files, *options)]) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    rows = [dict(row.values) for row in read_table(tmp_path / name)]
    assert [row["source"] for row in rows] == [entry["source"] for entry in shown["entries"]]
    assert [float(row["score"]) for row in rows] == [entry["score"] for entry in shown["entries"]]
