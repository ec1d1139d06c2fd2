"""Pieces that continue a word of a segmenter, worked by hand; the segmenters that there are."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.errors import DataError, SettingsError
from bertsmith.text import segmentation
from bertsmith.text.segmentation import SEGMENTERS, continues_word
from bertsmith.text.tokenizer import Tokenizer

SENTENCE = "使用语言模型"
TOKENIZER = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SENTENCE, "a", "b", "##a", "##b", "-"])


def picture(text: str, words: list[str]) -> str:
    """`#` for a piece that continues a word."""
    (source,) = TOKENIZER.sources([text])
    return "".join("#" if continues else "." for continues in continues_word(text, words, source))


def test_chinese_words_of_several_characters() -> None:
    # 使用 | 语言 | 模型, each character a piece: the example of Cui et al. 2019, table 1.
    assert picture(SENTENCE, ["使用", "语言", "模型"]) == ".#.#.#"
    assert picture(SENTENCE, ["使用", "语言模型"]) == ".#.###"
    assert picture(SENTENCE, list(SENTENCE)) == "......"


def test_blanks_separate_and_pieces_of_a_word_stay_together() -> None:
    text = "使用  ab-a 语言 模型"
    assert picture(text, SEGMENTERS["blanks"]()(text)) == ".#.###.#.#"  # a ##b - a is one word between blanks


def test_words_of_another_text_are_refused() -> None:
    for words in (["使用", "模型"], ["语言", "使用"], ["使用语言模型b"]):
        with pytest.raises(DataError, match="are not those of the text"):
            picture(SENTENCE, words)


@given(st.lists(st.text(alphabet=SENTENCE + "ab", min_size=1, max_size=4), min_size=1, max_size=8))
def test_a_piece_begins_a_word_once_for_each(words: list[str]) -> None:
    assert picture(" ".join(words), words).count(".") == len(words)


def test_jieba() -> None:
    pytest.importorskip("jieba")
    assert picture(SENTENCE, list(SEGMENTERS["jieba"]()(SENTENCE))) == ".#.#.#"


def test_a_package_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(segmentation.importlib, "import_module", absent)
    assert segmentation.importlib is importlib
    with pytest.raises(SettingsError, match=r"pip install 'bertsmith\[chinese\]', or .* --segmenter blanks"):
        SEGMENTERS["jieba"]()
