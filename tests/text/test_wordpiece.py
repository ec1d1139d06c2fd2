"""Learning a vocabulary: the whole way by hand, the report, and the same bytes from the same words."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from bertsmith.errors import DataError, SettingsError
from bertsmith.text.wordpiece import LearnedVocabulary, WordPieceSettings, choose_alphabet, learn_wordpiece
from bertsmith.text.words import count_words

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn(folder: Path, text: str, **settings: object) -> LearnedVocabulary:
    path = folder / "corpus.txt"
    path.write_text(text, encoding="utf-8")
    return learn_wordpiece([path], WordPieceSettings.of({"vocab_size": 100, "character_coverage": 1.0} | settings))


def test_a_vocabulary_by_hand(tmp_path: Path) -> None:
    # Words: low 3, lower 2, slow 1. Pairs: ##o##w 6, l##o 5, ##w##e 2, ##e##r 2, s##l 1, ##l##o 1. First ##ow 6; then
    # l##ow 5: low; then of ##e##r 2 and low##e 2 the first by its strings: ##er; then low##er 2: lower. What is left
    # occurs once, which is under min_frequency.
    learned = learn(tmp_path, "low lower Low LOWER\nlow slow")
    assert learned.tokens == (
        *SPECIAL,
        *("e", "l", "o", "r", "s", "w"),
        *("##e", "##l", "##o", "##r", "##w"),
        *("##ow", "low", "##er", "lower"),
    )
    # slow is s ##l ##ow: 3 + 2 + 3 pieces of 6 words.
    report = learned.report
    assert (report.num_words, report.num_distinct_words, report.num_tokens) == (6, 3, 20)
    assert (report.coverage, report.unknown_rate, report.pieces_per_word) == (1.0, 0.0, 8 / 6)
    assert learned.tokenizer().pieces_batch(["slow LOWER"])[0].tolist() == [9, 12, 16, 19]


def test_the_size_is_a_limit(tmp_path: Path) -> None:
    learned = learn(tmp_path, "low lower low lower low slow", vocab_size=17)
    assert learned.tokens[-1] == "##ow"
    assert len(learned.tokens) == 17
    with pytest.raises(SettingsError, match=r"vocab_size is 15, but 5 special tokens, 6 characters and 5 .* need 16"):
        learn(tmp_path, "low lower low lower low slow", vocab_size=15)


def test_the_report_counts_what_is_unknown(tmp_path: Path) -> None:
    # z is left out of the alphabet; a word of 101 letters is [UNK] whatever its pieces.
    text = "aa aa aa az az aa aa aa " + "a" * 101
    report = learn(tmp_path, text, limit_alphabet=1).report
    assert (report.num_characters, report.num_dropped_characters, report.num_overlong_words) == (2, 1, 1)
    assert report.num_words == 9
    assert report.coverage == pytest.approx(6 / 9)  # aa six times; az twice and the long one are [UNK]
    assert report.unknown_rate == pytest.approx(3 / 9)
    assert report.pieces_per_word == 1.0


def test_the_report_is_what_the_tokenizer_does(tmp_path: Path) -> None:
    rng = random.Random(3)
    weights = [9, 8, 7, 6, 5, 4, 3, 1, 1, 1, 1]
    words = ["".join(rng.choices("abcdefgh日本é", weights, k=rng.randint(1, 9))) for _ in range(400)]
    text = "\n".join(" ".join(rng.choices(words, k=8)) for _ in range(200))
    learned = learn(tmp_path, text, vocab_size=60, character_coverage=0.95)
    tokenizer = learned.tokenizer()
    ids = [number for line in tokenizer.pieces_batch(text.split("\n")) for number in line.tolist()]
    report = learned.report
    assert report.unknown_rate == pytest.approx(ids.count(tokenizer.unk_id) / len(ids))
    assert report.pieces_per_word == pytest.approx(len(ids) / report.num_words)
    assert report.coverage == pytest.approx(1 - ids.count(tokenizer.unk_id) / report.num_words)
    assert 0 < report.unknown_rate < 0.5


def test_cased_with_accents_and_chinese(tmp_path: Path) -> None:
    text = "Café café 中文 中文"
    assert {"c", "##a", "中", "文"} <= set(learn(tmp_path, text).tokens)
    assert "##é" not in learn(tmp_path, text).tokens
    cased = learn(tmp_path, text, lowercase=False)
    assert {"C", "##é"} <= set(cased.tokens)
    assert cased.tokenizer().decode(cased.tokenizer().encode("Café").input_ids) == "Café"
    assert "##é" in learn(tmp_path, text, strip_accents=False).tokens
    assert "中文" in learn(tmp_path, text, handle_chinese_chars=False).tokens


def test_the_alphabet() -> None:
    characters = {"a": 90, "c": 4, "b": 4, "d": 2}
    for coverage, expected in [(0.9, "a"), (0.91, "ab"), (0.98, "abc"), (1.0, "abcd")]:
        assert "".join(choose_alphabet(characters, WordPieceSettings(character_coverage=coverage))) == expected
    assert choose_alphabet(characters, WordPieceSettings(character_coverage=1.0, limit_alphabet=2)) == ["a", "b"]


def test_further_special_tokens(tmp_path: Path) -> None:
    tokens = ("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert learn(tmp_path, "a b", special_tokens=tokens).tokens == (*tokens, "a", "b")
    for wrong in (("[PAD]", "[UNK]"), (*SPECIAL, "[PAD]")):
        with pytest.raises(SettingsError, match="special_tokens"):
            learn(tmp_path, "a b", special_tokens=wrong)


@pytest.mark.parametrize("text", ["", "\n \n\t\n", "\0\ufffd\u200b"])
def test_no_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"no words in .*corpus.txt: expected UTF-8 text"):
        learn(tmp_path, text)


def test_unknown_settings_are_named() -> None:
    with pytest.raises(SettingsError, match="did you mean 'vocab_size'"):
        WordPieceSettings.of({"vocabsize": 10})


def corpus(folder: Path, seed: int) -> list[Path]:
    """The same lines in two files, ordered by `seed`."""
    rng = random.Random(1)
    words = ["".join(rng.choices("etaoinshr", k=rng.randint(1, 9))) for _ in range(500)]
    lines = [" ".join(rng.choices(words, weights=range(500, 0, -1), k=10)) for _ in range(600)]
    random.Random(seed).shuffle(lines)
    paths = [folder / f"{seed}-{half}.txt" for half in range(2)]
    paths[0].write_text("\n".join(lines[:200]) + "\n")
    paths[1].write_text("\n".join(lines[200:]))
    return paths


def test_neither_files_nor_lines_nor_their_order_matter(tmp_path: Path) -> None:
    settings = WordPieceSettings(vocab_size=300)
    expected = learn_wordpiece(corpus(tmp_path, 1), settings)
    for seed in (1, 2, 3):
        files = corpus(tmp_path, seed)
        assert learn_wordpiece(files, settings).tokens == expected.tokens
        assert learn_wordpiece(files[::-1], settings).report == learn_wordpiece(files, settings).report
    small = WordPieceSettings(vocab_size=200, max_distinct_words=60)
    capped = [learn_wordpiece(corpus(tmp_path, seed), small) for seed in (1, 2)]
    assert capped[0].tokens == capped[1].tokens
    assert capped[0].report.num_rare_distinct_words > 0


@pytest.mark.slow
def test_neither_threads_nor_string_hashes_matter(tmp_path: Path) -> None:
    files = [str(path) for path in corpus(tmp_path, 1)]
    script = (
        "import sys, pathlib; from bertsmith.text.wordpiece import *; "
        "print(learn_wordpiece([pathlib.Path(f) for f in sys.argv[1:]], WordPieceSettings(vocab_size=300)).tokens)"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script, *files],
            env={"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true", "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for threads, seed in (("1", "0"), ("3", "17"))
    }
    assert len(printed) == 1


def test_the_counts_are_those_of_the_files(tmp_path: Path) -> None:
    files = corpus(tmp_path, 1)
    learned = learn_wordpiece(files, WordPieceSettings(vocab_size=300))
    from tokenizers.normalizers import BertNormalizer

    counts = count_words(files, BertNormalizer(), max_distinct_words=10_000)
    assert learned.report.num_words == counts.num_words == 6000
    assert learned.report.num_bytes == sum(path.stat().st_size for path in files)
