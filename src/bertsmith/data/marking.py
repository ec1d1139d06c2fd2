"""Texts to ids with marks of what their tokens continue: words by a segmenter, phrases by a user's dictionary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from bertsmith.data.marks import CONTINUES_ENTITY, CONTINUES_PHRASE, CONTINUES_WORD, marked, marks_of
from bertsmith.data.phrases import Phrases, read_phrases
from bertsmith.text.segmentation import SEGMENTERS, Segmenter, SegmenterName, continues_word
from bertsmith.text.tokenizer import Tokenizer

NAMES = {"word": CONTINUES_WORD, "phrase": CONTINUES_PHRASE, "entity": CONTINUES_ENTITY}


@dataclass
class Marking:
    """segmenter, phrases: either may be None, not both. counts: tokens marked so far, by what they continue."""

    tokenizer: Tokenizer
    segmenter: Segmenter | None
    phrases: Phrases | None
    counts: Counter[str] = field(default_factory=Counter)

    def batch(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The ids of every text, without special tokens, marked: the ids are those of `Tokenizer.pieces_batch`."""
        return [self._marked(text, source) for text, source in zip(texts, self.tokenizer.sources(texts), strict=True)]

    def _marked(self, text: str, source: tokenizers.Encoding) -> NDArray[np.int64]:
        ids = np.array(source.ids, dtype=np.int64)
        marks = np.zeros(len(ids), dtype=np.uint8)
        if self.segmenter is not None:
            marks[continues_word(text, self.segmenter(text), source)] |= CONTINUES_WORD
        if self.phrases is not None:
            marks |= self.phrases.marks(ids)
        values = marked(ids, marks)
        for name, mark in NAMES.items():
            self.counts[name] += int(np.count_nonzero(marks_of(values) & mark))
        return values


def open_marking(tokenizer: Tokenizer, segmenter: SegmenterName | None, phrases: Path | None) -> Marking | None:
    """None where neither is asked for. Raises `SettingsError` for a segmenter that is not installed."""
    if segmenter is None and phrases is None:
        return None
    return Marking(
        tokenizer,
        None if segmenter is None else SEGMENTERS[segmenter](),
        None if phrases is None else read_phrases(phrases, tokenizer),
    )
