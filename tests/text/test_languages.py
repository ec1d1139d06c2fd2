"""Sampling of languages by hand and by its properties; files by language; how a vocabulary fits each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.errors import DataError, SettingsError
from bertsmith.text.fit import fit_by_language
from bertsmith.text.languages import by_language, sampling_shares
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece

FILES = [Path("a"), Path("b"), Path("c")]


def test_shares_by_hand() -> None:
    # Roots of 900 and 100 are 30 and 10. Cube roots of 27, 8 and 1 are 3, 2 and 1.
    assert sampling_shares([900, 100], 0.5).tolist() == [0.75, 0.25]
    assert sampling_shares([27, 8, 1], 1 / 3) == pytest.approx([3 / 6, 2 / 6, 1 / 6])


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), st.floats(0, 1))
def test_shares_are_shares_and_favour_the_small(sizes: list[int], alpha: float) -> None:
    shares = sampling_shares(sizes, alpha)
    assert shares.sum() == pytest.approx(1)
    assert (np.diff(shares[np.argsort(sizes, kind="stable")]) >= -1e-12).all()
    gains = shares / (np.array(sizes) / sum(sizes))
    assert (np.diff(gains[np.argsort(sizes, kind="stable")]) <= 1e-9 * gains.max()).all()


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8))
def test_the_ends_are_as_they_are_and_all_alike(sizes: list[int]) -> None:
    assert sampling_shares(sizes, 1) == pytest.approx(np.array(sizes) / sum(sizes))
    assert sampling_shares(sizes, 0) == pytest.approx(np.full(len(sizes), 1 / len(sizes)))


def test_files_by_language() -> None:
    assert by_language(FILES, ["de", "en", "de"]) == {"de": [Path("a"), Path("c")], "en": [Path("b")]}
    with pytest.raises(SettingsError, match=r"2 names \(de en\) for 3 files: name one for each file"):
        by_language(FILES, ["de", "en"])
    with pytest.raises(SettingsError, match="' ' is no name of a language"):
        by_language(FILES, ["de", "en", " "])


def write(folder: Path, **texts: str) -> list[Path]:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def test_a_small_language_gains_tokens(tmp_path: Path) -> None:
    # 8 words of one language, 2 of the other. With alpha 0 each word of the small one counts four times: "ab" 8 times
    # beside "cd" 6 and "ef" 2, so that of the one place left it is the first.
    files = write(tmp_path, big="cd cd cd cd cd cd ef ef", small="ab ab")
    settings = {"vocab_size": 12 + 5, "character_coverage": 1.0}  # 5 special, 6 letters, 3 continuations, 3 merges
    learned = {
        alpha: learn_wordpiece(
            files, WordPieceSettings.of(settings | {"sampling_alpha": alpha}), languages=["big", "small"]
        ).tokens[14:]
        for alpha in (0.0, 1.0)
    }
    assert learned == {0.0: ("ab", "cd", "ef"), 1.0: ("cd", "ab", "ef")}


def test_the_report_of_each_language(tmp_path: Path) -> None:
    files = write(tmp_path, one="low low low", two="slow", three="low")
    settings = WordPieceSettings(vocab_size=16, character_coverage=1.0)
    learned = learn_wordpiece(files, settings, languages=["en", "de", "en"])
    # Low 4, slow 1: after 5 special tokens, l o s w and ##l ##o ##w come ##ow of 5 and low of 4; slow is s ##l ##ow.
    assert learned.tokens[12:] == ("##ow", "low")
    fits = learned.report.languages
    assert (fits["en"].num_words, fits["en"].pieces_per_word, fits["en"].unknown_rate) == (4, 1.0, 0.0)
    assert (fits["de"].num_words, fits["de"].pieces_per_word) == (1, 3.0)
    assert fits == fit_by_language(learned.tokenizer(), by_language(files, ["en", "de", "en"]))
    whole = learned.report
    assert whole.num_words == 5
    assert whole.pieces_per_word == pytest.approx((4 * 1.0 + 1 * 3.0) / 5)


def test_a_language_that_the_vocabulary_does_not_know(tmp_path: Path) -> None:
    latin, chinese = write(tmp_path, en="low low", zh="天 天 天气")
    tokenizer = learn_wordpiece([latin], WordPieceSettings(vocab_size=20)).tokenizer()
    fit = fit_by_language(tokenizer, {"zh": [chinese]})["zh"]
    assert (fit.num_words, fit.unknown_rate, fit.coverage) == (4, 1.0, 0.0)


def test_sampling_without_languages_and_a_file_without_words(tmp_path: Path) -> None:
    files = write(tmp_path, one="low low", two=" ")
    with pytest.raises(SettingsError, match="sampling_alpha is of several languages"):
        learn_wordpiece(files[:1], WordPieceSettings(vocab_size=20, sampling_alpha=0.3))
    with pytest.raises(DataError, match=f"no words in {files[1]}"):
        learn_wordpiece(files, WordPieceSettings(vocab_size=20), languages=["en", "de"])
    with pytest.raises(DataError, match=f"{files[1]}: no words of de"):
        fit_by_language(learn_wordpiece(files[:1], WordPieceSettings(vocab_size=20)).tokenizer(), {"de": [files[1]]})
