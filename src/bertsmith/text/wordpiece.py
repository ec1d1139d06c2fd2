"""Learning a WordPiece vocabulary from text files: same words, same vocabulary, byte for byte.

Puts the steps together (count words, choose an alphabet, merge, measure) and reports what came of it. Knows nothing of
how a vocabulary is saved or used in training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import tokenizers
from pydantic import Field
from tokenizers import models, normalizers

from bertsmith.errors import DataError, SettingsError
from bertsmith.settings import Settings
from bertsmith.text.merges import Criterion, MergeLearner
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.vocabulary import CONTINUATION_PREFIX, MAX_WORD_CHARACTERS, SPECIAL_TOKENS, UNK
from bertsmith.text.words import BadUtf8, OnProgress, WordCounts, count_words

PROGRESS_TOKENS: Final = 500  # report once in so many tokens
MEASURED_WORDS: Final = 1 << 16  # words whose encodings are held at once


class WordPieceSettings(Settings):
    """How a vocabulary is learned."""

    vocab_size: int = Field(
        30_000, ge=len(SPECIAL_TOKENS) + 1, description="tokens in the vocabulary at most, special tokens included"
    )
    criterion: Criterion = Field(
        "frequency",
        description="what to merge next: 'frequency', the most frequent pair of pieces; 'likelihood', the pair with "
        "the largest count(ab) / (count(a) count(b)), the original WordPiece",
    )
    lowercase: bool = Field(True, description="fold upper to lower case (an uncased model)")
    strip_accents: bool | None = Field(None, description="remove accents; unset: as lowercase")
    handle_chinese_chars: bool = Field(True, description="make each Chinese character a word of its own")
    min_frequency: int = Field(2, ge=1, description="occurrences that a pair of pieces needs to be merged")
    character_coverage: float = Field(
        0.9999,
        gt=0,
        le=1,
        description="share of the text's characters to cover: the alphabet is the most frequent ones that together "
        "make this share; words with others become [UNK]",
    )
    limit_alphabet: int | None = Field(
        None, ge=1, description="characters in the alphabet at most, the most frequent ones; unset: no limit"
    )
    max_distinct_words: int = Field(
        2_000_000,
        ge=1,
        description="distinct words to learn from at most: the most frequent ones, equals by their strings, whatever "
        "the order of the text; memory grows by about 0.5 KB with each, what is over goes through temporary files",
    )
    bad_utf8: BadUtf8 = Field(
        "error",
        description="bytes that are not UTF-8: 'error' stops and names the line, 'replace' drops the bytes, 'skip' "
        "leaves out the stretch between blanks that holds them",
    )
    special_tokens: tuple[str, ...] = Field(
        SPECIAL_TOKENS, description="tokens put first, in this order; BERT's five must be among them"
    )


@dataclass(frozen=True, slots=True)
class VocabularyReport:
    """What was read, and how the vocabulary fits it, measured over the words that were counted.

    coverage: share of words without [UNK]; unknown_rate: share of pieces that are [UNK]; pieces_per_word: mean number
    of pieces of a word. num_rare_*: words beyond `max_distinct_words`, left out of all three.
    """

    num_tokens: int
    num_words: int
    num_distinct_words: int
    coverage: float
    unknown_rate: float
    pieces_per_word: float
    num_characters: int
    num_dropped_characters: int
    num_overlong_words: int
    num_rare_words: int
    num_rare_distinct_words: int
    num_bad_chunks: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class LearnedVocabulary:
    """Tokens in order of their ids (special ones, characters, characters as continuations, merges), and the report."""

    tokens: tuple[str, ...]
    report: VocabularyReport
    settings: WordPieceSettings

    def tokenizer(self) -> Tokenizer:
        """The tokenizer with this vocabulary that normalizes text as it was learned from."""
        return Tokenizer.from_vocab(
            self.tokens,
            lowercase=self.settings.lowercase,
            strip_accents=self.settings.strip_accents,
            handle_chinese_chars=self.settings.handle_chinese_chars,
        )


def learn_wordpiece(
    files: Sequence[Path], settings: WordPieceSettings | None = None, on_progress: OnProgress | None = None
) -> LearnedVocabulary:
    """Learn a vocabulary from text files (also `.gz`, `.xz`, `.zst`): a function of their words and counts alone.

    on_progress: called with a phase, how much is done and, where known, the whole: bytes, then tokens. Raises
    `DataError` for text that cannot be read or holds no words, `SettingsError` for a `vocab_size` below the alphabet's.
    """
    settings = settings or WordPieceSettings()
    _check_special_tokens(settings.special_tokens)
    normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.handle_chinese_chars,
        strip_accents=settings.strip_accents,
        lowercase=settings.lowercase,
    )
    words = count_words(
        files,
        normalizer,
        max_distinct_words=settings.max_distinct_words,
        bad_utf8=settings.bad_utf8,
        on_progress=on_progress,
    )
    if not words.counts:
        raise DataError(f"no words in {_names(files)}: expected UTF-8 text")
    characters = count_characters(words.counts)
    alphabet = choose_alphabet(characters, settings)
    tokens = _learn_tokens(words.counts, alphabet, settings, on_progress)
    report = _report(tokens, words, len(characters), len(alphabet))
    return LearnedVocabulary(tuple(tokens), report, settings)


def count_characters(words: Mapping[str, int]) -> Counter[str]:
    """How often each character occurs in words with counts."""
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    return characters


def choose_alphabet(characters: Mapping[str, int], settings: WordPieceSettings) -> list[str]:
    """The most frequent characters (equals by code point) that make `character_coverage` of the text; sorted."""
    ranked = sorted(characters, key=lambda character: (-characters[character], character))
    shares = np.cumsum([characters[character] for character in ranked])
    needed = int(np.searchsorted(shares, settings.character_coverage * shares[-1])) + 1
    return sorted(ranked[: min(needed, settings.limit_alphabet or needed)])


def _learn_tokens(
    counts: Mapping[str, int], alphabet: Sequence[str], settings: WordPieceSettings, on_progress: OnProgress | None
) -> list[str]:
    known = frozenset(alphabet)
    # A word with another character is [UNK] as a whole, whatever its other pieces: it has nothing to teach.
    words = [word for word in counts if known.issuperset(word)]
    continuations = sorted({CONTINUATION_PREFIX + character for word in words for character in word[1:]})
    tokens = [*settings.special_tokens, *alphabet, *continuations]
    if len(tokens) > settings.vocab_size:
        raise SettingsError(
            f"vocab_size is {settings.vocab_size}, but {len(settings.special_tokens)} special tokens, {len(alphabet)} "
            f"characters and {len(continuations)} characters as continuations need {len(tokens)} already: raise "
            "vocab_size, or lower character_coverage or limit_alphabet"
        )
    learner = MergeLearner(
        words,
        np.fromiter(map(counts.__getitem__, words), dtype=np.int64, count=len(words)),
        settings.criterion,
        settings.min_frequency,
    )
    special = frozenset(settings.special_tokens)
    new_tokens = (token for token in learner.new_tokens() if token not in special)
    for token in islice(new_tokens, settings.vocab_size - len(tokens)):
        tokens.append(token)
        if on_progress is not None and len(tokens) % PROGRESS_TOKENS == 0:
            on_progress("learn tokens", len(tokens), settings.vocab_size)
    return tokens


def _report(tokens: Sequence[str], words: WordCounts, num_characters: int, num_kept: int) -> VocabularyReport:
    """Every counted word through the core's own WordPiece, without anything around it."""
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
    return VocabularyReport(
        num_tokens=len(tokens),
        num_words=words.num_words,
        num_distinct_words=len(words.counts),
        coverage=1 - num_unknown / num_words,
        unknown_rate=num_unknown / num_pieces,
        pieces_per_word=num_pieces / num_words,
        num_characters=num_characters,
        num_dropped_characters=num_characters - num_kept,
        num_overlong_words=words.num_overlong_words,
        num_rare_words=words.num_rare_words,
        num_rare_distinct_words=words.num_rare_distinct_words,
        num_bad_chunks=words.num_bad_chunks,
        num_bytes=words.num_bytes,
    )


def _check_special_tokens(tokens: Sequence[str]) -> None:
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing or len(set(tokens)) < len(tokens):
        raise SettingsError(
            f"special_tokens {' '.join(tokens)}: expected {' '.join(SPECIAL_TOKENS)} among them, and none twice"
        )


def _names(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files[:3])) + (f" and {len(files) - 3} more files" if len(files) > 3 else "")
