"""Words where a script does not separate them: segmenters, and which pieces of a text continue one of their words.

BERT's tokenizer makes each Chinese character a word of its own. Masking whole words (Cui et al. 2019) needs to know
more, from whoever knows the language: a segmenter takes a text and gives its words in order.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bertsmith.errors import DataError, SettingsError

Segmenter: TypeAlias = Callable[[str], Sequence[str]]
SegmenterName: TypeAlias = Literal["blanks", "jieba"]


def _jieba() -> Segmenter:
    jieba = _package()
    jieba.setLogLevel("WARNING")
    jieba.initialize()
    cut: Segmenter = jieba.lcut
    return cut


def _package() -> Any:
    try:
        return importlib.import_module("jieba")
    except ImportError:
        raise SettingsError(
            "segmenter: jieba is not installed: pip install 'bertsmith[chinese]', or give text whose words are "
            "separated already, with --segmenter blanks"
        ) from None


SEGMENTERS: dict[SegmenterName, Callable[[], Segmenter]] = {"blanks": lambda: str.split, "jieba": _jieba}
"""blanks: the text comes with its words separated. Each is made ready when it is first used."""


def continues_word(text: str, words: Sequence[str], pieces: tokenizers.Encoding) -> NDArray[np.bool_]:
    """[n]: whether a piece begins within a word of which the piece before it has a part.

    words: of `text`, in order; blanks between them aside they are all of it. pieces: of `text`, with its offsets.
    Raises `DataError` for words that are not those of the text.
    """
    starts, at = [], 0
    for word in words:
        found = text.find(word, at)
        if found < 0 or text[at:found].strip():
            raise DataError(f"the segmenter's words are not those of the text: {word!r} after {text[:at][-40:]!r}")
        starts.append(found)
        at = found + len(word)
    offsets = np.array([offset[0] for offset in pieces.offsets], dtype=np.int64)
    numbers = np.searchsorted(np.array(starts, dtype=np.int64), offsets, side="right")
    continues: NDArray[np.bool_] = np.zeros(len(offsets), dtype=np.bool_)
    continues[1:] = numbers[1:] == numbers[:-1]
    return continues
