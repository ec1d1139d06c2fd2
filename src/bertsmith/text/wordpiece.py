"""Learning a WordPiece vocabulary from text files: same words, same vocabulary, byte for byte.

Puts the steps together (count words, choose an alphabet, merge, measure) and reports what came of it. Knows nothing of
how a vocabulary is saved or used in training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import Field

from bertsmith.errors import DataError, SettingsError
from bertsmith.settings import Settings
from bertsmith.text.fit import VocabularyFit, vocabulary_fit
from bertsmith.text.languages import by_language, sampling_shares
from bertsmith.text.merges import Criterion, MergeLearner
from bertsmith.text.normalization import bert_normalizer
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.vocabulary import CONTINUATION_PREFIX, SPECIAL_TOKENS
from bertsmith.text.words import BadUtf8, OnProgress, WordCounts, count_words, together

PROGRESS_TOKENS: Final = 500  # report once in so many tokens


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
    sampling_alpha: float = Field(
        1.0,
        ge=0,
        le=1,
        description="of several languages: words count as if a language of n words had n^alpha; 1: as they are, 0.3 in "
        "XLM-R, 0: all languages alike",
    )
    special_tokens: tuple[str, ...] = Field(
        SPECIAL_TOKENS, description="tokens put first, in this order; BERT's five must be among them"
    )


@dataclass(frozen=True, slots=True)
class VocabularyReport:
    """What was read, and how the vocabulary fits it, measured over the words that were counted.

    coverage: share of words without [UNK]; unknown_rate: share of pieces that are [UNK]; pieces_per_word: mean number
    of pieces of a word. num_rare_*: words beyond `max_distinct_words`, left out of all three. languages: the same of
    each language, where there are several.
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
    languages: Mapping[str, VocabularyFit] = field(default_factory=dict)


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
    files: Sequence[Path],
    settings: WordPieceSettings | Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
    *,
    languages: Sequence[str] = (),
) -> LearnedVocabulary:
    """Learn a vocabulary from text files (also `.gz`, `.xz`, `.zst`): a function of their words and counts alone.

    languages: that of each file; words then count as `sampling_alpha` says, and the cap on distinct words is each
    language's. on_progress: called with a phase, how much is done and, where known, the whole: bytes, then tokens.
    Raises `DataError` for text that cannot be read or holds no words, `SettingsError` for a `vocab_size` below the
    alphabet's, and for languages that do not fit the files.
    """
    settings = settings if isinstance(settings, WordPieceSettings) else WordPieceSettings.of(settings or {})
    _check_special_tokens(settings.special_tokens)
    if not languages and settings.sampling_alpha != 1:
        raise SettingsError("sampling_alpha is of several languages: say with languages which file is of which")
    groups = by_language(files, languages) if languages else {"": list(files)}
    counted = {language: _counted(group, settings, on_progress) for language, group in groups.items()}
    words = together(list(counted.values()))
    counts = _sampled(list(counted.values()), settings.sampling_alpha)
    characters = count_characters(counts)
    alphabet = choose_alphabet(characters, settings)
    tokens = _learn_tokens(counts, alphabet, settings, on_progress)
    fits = {language: vocabulary_fit(tokens, found) for language, found in counted.items()} if languages else {}
    report = _report(tokens, words, len(characters), len(alphabet), fits)
    return LearnedVocabulary(tuple(tokens), report, settings)


def _counted(files: Sequence[Path], settings: WordPieceSettings, on_progress: OnProgress | None) -> WordCounts:
    words = count_words(
        files,
        bert_normalizer(settings),
        max_distinct_words=settings.max_distinct_words,
        bad_utf8=settings.bad_utf8,
        on_progress=on_progress,
    )
    if not words.counts:
        raise DataError(f"no words in {_names(files)}: expected UTF-8 text")
    return words


def _sampled(languages: Sequence[WordCounts], alpha: float) -> Mapping[str, int]:
    """The words of all languages, each counted so much more often that the languages have their sampled shares.

    None counts less than it did: the language that would, keeps its counts, and the others gain.
    """
    if len(languages) == 1 or alpha == 1:
        return together(languages).counts
    sizes = [words.num_words for words in languages]
    gains = sampling_shares(sizes, alpha) / sizes
    gained: Counter[str] = Counter()
    for words, gain in zip(languages, (gains / gains.min()).tolist(), strict=True):
        for word, count in words.counts.items():
            gained[word] += round(count * gain)
    return gained


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


def _report(
    tokens: Sequence[str], words: WordCounts, num_characters: int, num_kept: int, languages: Mapping[str, VocabularyFit]
) -> VocabularyReport:
    fit = vocabulary_fit(tokens, words)
    return VocabularyReport(
        num_tokens=len(tokens),
        num_words=words.num_words,
        num_distinct_words=len(words.counts),
        coverage=fit.coverage,
        unknown_rate=fit.unknown_rate,
        pieces_per_word=fit.pieces_per_word,
        num_characters=num_characters,
        num_dropped_characters=num_characters - num_kept,
        num_overlong_words=words.num_overlong_words,
        num_rare_words=words.num_rare_words,
        num_rare_distinct_words=words.num_rare_distinct_words,
        num_bad_chunks=words.num_bad_chunks,
        num_bytes=words.num_bytes,
        languages=languages,
    )


def _check_special_tokens(tokens: Sequence[str]) -> None:
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing or len(set(tokens)) < len(tokens):
        raise SettingsError(
            f"special_tokens {' '.join(tokens)}: expected {' '.join(SPECIAL_TOKENS)} among them, and none twice"
        )


def _names(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files[:3])) + (f" and {len(files) - 3} more files" if len(files) > 3 else "")
