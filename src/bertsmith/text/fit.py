"""How a vocabulary fits words: how many pieces they take, and how many it does not know.

Measured through the core's own WordPiece, without anything around it: added tokens do not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import tokenizers
from tokenizers import models

from bertsmith.errors import DataError
from bertsmith.text.normalization import bert_normalizer
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.vocabulary import MAX_WORD_CHARACTERS, UNK
from bertsmith.text.words import BadUtf8, OnProgress, WordCounts, count_words

MEASURED_WORDS: Final = 1 << 16  # words whose encodings are held at once


@dataclass(frozen=True, slots=True)
class VocabularyFit:
    """Of the words that were counted, each as often as it occurs.

    coverage: share of words without [UNK]; unknown_rate: share of pieces that are [UNK]; pieces_per_word: mean number
    of pieces of a word. Words beyond the cap of the count are left out of all three.
    """

    num_words: int
    num_distinct_words: int
    coverage: float
    unknown_rate: float
    pieces_per_word: float


def vocabulary_fit(tokens: Sequence[str], words: WordCounts) -> VocabularyFit:
    """How well the vocabulary `tokens`, in order of their ids, cuts `words`; there is at least one."""
    model = models.WordPiece(
        {token: number for number, token in enumerate(tokens)},
        unk_token=UNK,
        max_input_chars_per_word=MAX_WORD_CHARACTERS,
    )
    core, unk_id, listed = tokenizers.Tokenizer(model), tokens.index(UNK), list(words.counts)
    pieces: list[list[int]] = []
    for start in range(0, len(listed), MEASURED_WORDS):
        encodings = core.encode_batch_fast(listed[start : start + MEASURED_WORDS], add_special_tokens=False)
        pieces += [encoding.ids for encoding in encodings]
    counts = np.fromiter(words.counts.values(), dtype=np.int64, count=len(pieces))
    lengths = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    unknown = np.fromiter((ids[0] == unk_id for ids in pieces), dtype=np.bool_, count=len(pieces))
    num_words = int(counts.sum()) + words.num_overlong_words
    num_unknown = int(counts[unknown].sum()) + words.num_overlong_words
    num_pieces = int((counts * lengths).sum()) + words.num_overlong_words
    return VocabularyFit(
        num_words=words.num_words,
        num_distinct_words=len(words.counts),
        coverage=1 - num_unknown / num_words,
        unknown_rate=num_unknown / num_pieces,
        pieces_per_word=num_pieces / num_words,
    )


def fit_by_language(
    tokenizer: Tokenizer,
    languages: Mapping[str, Sequence[Path]],
    *,
    max_distinct_words: int = 2_000_000,
    bad_utf8: BadUtf8 = "error",
    on_progress: OnProgress | None = None,
) -> dict[str, VocabularyFit]:
    """How the tokenizer's vocabulary fits the files of each language. bad_utf8: as in `count_words`.

    Raises `DataError` for files that cannot be read or hold no words.
    """
    normalizer, fits = bert_normalizer(tokenizer.spec), {}
    for language, files in languages.items():
        words = count_words(
            files, normalizer, max_distinct_words=max_distinct_words, bad_utf8=bad_utf8, on_progress=on_progress
        )
        if not words.counts:
            raise DataError(f"{files[0]}: no words of {language}: expected UTF-8 text")
        fits[language] = vocabulary_fit(tokenizer.spec.vocabulary, words)
    return fits
