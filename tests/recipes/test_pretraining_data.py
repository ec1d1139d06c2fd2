"""Several corpora as one: shares, records, what is refused; marks and translations on their way from text to masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import Notes

from bertsmith.data.corpus import MARKS, Corpus
from bertsmith.data.mixture import Mixture
from bertsmith.errors import DataError, SettingsError
from bertsmith.recipes.prepare import PrepareReport, PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.recipes.pretraining_data import PretrainingData, open_corpora, pretraining_data
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.text.tokenizer import Tokenizer

WORDS = ("a", "dog", "cat", "sees", "ein", "hund", "eine", "katze", "sieht", ".")
CHINESE = "使用语言模型"
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *CHINESE]
EN, DE = "a dog sees a cat .", "ein hund sieht eine katze ."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 32 English documents, one of 8 German ones, and one of 6 with both."""
    folder = tmp_path_factory.mktemp("languages")
    Tokenizer.from_vocab(TOKENS).save(folder / "tokenizer")
    (folder / "en.txt").write_text(f"{EN}\n\n" * 32, encoding="utf-8")
    (folder / "de.txt").write_text(f"{DE}\n\n" * 8, encoding="utf-8")
    (folder / "en6.txt").write_text(f"{EN}\n" * 6, encoding="utf-8")
    (folder / "de6.txt").write_text(f"{DE}\n" * 6, encoding="utf-8")
    make(folder, "en", ["en.txt"], format="sentences")
    make(folder, "de", ["de.txt"], format="sentences")
    make(folder, "both", ["en6.txt", "de6.txt"], parallel=True)
    return folder


def make(house: Path, name: str, files: list[str], **settings: Any) -> PrepareReport:
    values = {"files": [house / file for file in files], "tokenizer": house / "tokenizer", "output_dir": house / name}
    return prepare(PrepareSettings.of(values | settings))


def sentences(corpus: Corpus, document: int) -> list[str]:
    return [" ".join(TOKENS[i] for i in corpus.sentence(s)) for s in corpus.document_sentences(document)]


def data(house: Path, *names: str, alpha: float = 1.0, fraction: float = 0.0, **task: Any) -> PretrainingData:
    return pretraining_data(
        open_corpora([house / name for name in names]),
        Pretraining.from_dict({"max_length": 32, **task}, "test"),
        validation_fraction=fraction,
        alpha=alpha,
        seed=0,
        progress=Notes(),
    )


def test_a_line_and_its_translation_are_a_document(house: Path) -> None:
    corpus = Corpus.open(house / "both", verify_hashes=True)
    assert [sentences(corpus, d) for d in range(corpus.num_documents)] == [[EN, DE]] * 6


@pytest.mark.parametrize(
    ("files", "settings", "what"),
    [
        (["en6.txt"], {}, "translations stand in two files or more"),
        (["en6.txt", "de6.txt"], {"format": "lines"}, "leave out format"),
        (["en6.txt", "de6.txt"], {"scale": {"on": "local"}}, "leave out scale.on"),
    ],
)
def test_what_parallel_files_are_not_read_with(house: Path, files: list[str], settings: Any, what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        make(house, "refused", files, parallel=True, **settings)


def test_shares_of_several_corpora(house: Path) -> None:
    # 32 and 8 passages: roots of four to one are two to one.
    found = data(house, "en", "de", alpha=0.5)
    assert isinstance(found.training, Mixture)
    assert found.training.counts.tolist() == [32, 16]
    assert found.record["corpora"]["de"]["places_an_epoch"] == 16
    assert found.record["num_passages"] == 48
    assert found.record["corpus"] != data(house, "en", "de").record["corpus"] != data(house, "en").record["corpus"]


def test_each_corpus_is_held_out_of(house: Path) -> None:
    for name in ("en", "de"):
        lines = [f"{' '.join(WORDS[i : i + 3])} {WORDS[j]}\n\n" for i in range(7) for j in range(10)]
        (house / f"various-{name}.txt").write_text("".join(lines), encoding="utf-8")
        make(house, f"various-{name}", [f"various-{name}.txt"], format="sentences")
    found = data(house, "various-en", "various-de", fraction=0.3)
    sides = [{(passage.source, passage.document) for passage in side} for side in (found.training, found.held_out)]
    assert len(sides[0]) + len(sides[1]) == 2 * 70
    assert len(sides[1]) == len(found.held_out)
    assert len({source for source, _ in sides[1]}) == 2
    # Equal documents fall on one side, so that a corpus of one document many times cannot be split.
    assert list(data(house, "en", "de", fraction=0.5).held_out) == []


def test_what_is_refused(house: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="sampling_alpha is of several corpora"):
        data(house, "en", alpha=0.3)
    with pytest.raises(SettingsError, match="a second corpus named 'en'"):
        data(house, "en", "en")
    Tokenizer.from_vocab([*TOKENS, "more"]).save(house / "other-tokenizer")
    make(house, "other", ["en.txt"], tokenizer=house / "other-tokenizer")
    with pytest.raises(DataError, match=r"other: prepared with another tokenizer than .*en; prepare both with one"):
        data(house, "en", "other")
    with pytest.raises(SettingsError, match="mask_unit 'entity': en, de has none marked; prepare it with --phrases"):
        data(house, "en", "de", masking={"mask_unit": "entity"})


def test_an_unknown_language_is_refused(house: Path) -> None:
    (house / "fr.txt").write_text("un chien voit un chat .\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"fr\.txt: 83% of the tokens are \[UNK\]: .* does not know this language"):
        make(house, "fr", ["fr.txt"])
    assert not (house / "fr").exists()


def test_marks_of_a_segmented_file(house: Path) -> None:
    (house / "zh.txt").write_text("使用 语言模型\n", encoding="utf-8")
    report = make(house, "zh", ["zh.txt"], segmenter="blanks", format="sentences")
    corpus = Corpus.open(house / "zh", verify_hashes=True)
    assert [TOKENS[i] for i in corpus.sentence(0)] == list(CHINESE)
    assert np.asarray(corpus.marks(0)).tolist() == [0, 1, 0, 1, 1, 1]
    assert report.marked == {"entity": 0, "phrase": 0, "word": 4}


def test_marks_are_the_same_by_workers_and_are_read_by_their_unit(house: Path) -> None:
    (house / "phrases.tsv").write_text("a dog\tentity\nsees a cat\n", encoding="utf-8")
    report = make(house, "marked", ["en.txt", "en6.txt"], phrases=house / "phrases.tsv")
    by_workers = {"scale": {"on": "local", "num_workers": 1}, "shard_bytes": 100}
    make(house, "marked-by-workers", ["en.txt", "en6.txt"], phrases=house / "phrases.tsv", **by_workers)
    first, second = house / "marked", house / "marked-by-workers"
    assert (first / MARKS).read_bytes() == (second / MARKS).read_bytes()
    assert np.asarray(Corpus.open(first).marks(0)).tolist() == [0, 2 | 4, 0, 2, 2, 0]
    assert report.marked == {"entity": 38, "phrase": 3 * 38, "word": 0}
    assert len(data(house, "marked", masking={"mask_unit": "entity"}).training)


def test_a_dictionary_of_another_text_is_refused(house: Path) -> None:
    (house / "none.tsv").write_text("ein hund\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"none\.tsv: no phrase of several tokens occurs in .*en\.txt"):
        make(house, "none", ["en.txt"], phrases=house / "none.tsv")


def test_a_run_on_several_corpora(house: Path, tmp_path: Path) -> None:
    values = {
        "corpus": [house / "en", house / "de", house / "both"],
        "sampling_alpha": 0.5,
        "output_dir": tmp_path / "run",
        "model_size": "tiny",
        "task": {"sentence_task": "pair", "max_length": 32},
        "training": {"max_steps": 2, "per_device_train_batch_size": 8, "report_to": "none", "device": "cpu"},
        "validation_fraction": 0,
    }
    report = pretrain(PretrainSettings.of(values))
    assert report.num_passages == 32 + 16 + round(32 * (6 / 32) ** 0.5)
    assert PretrainSettings.of(values).data_name == Path("en-de-both")
