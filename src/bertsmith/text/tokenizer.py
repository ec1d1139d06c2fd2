"""BERT's tokenizer: texts to ids and back, with offsets, pairs and a count of what truncation cut.

A thin configured face of the Rust core of `tokenizers`. Knows nothing of tensors, padding or models: an encoding is as
long as its text, or as `max_length` allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias, TypeVar

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, pre_tokenizers, processors

from bertsmith.errors import BertsmithError, DataError, FileFormatError, SettingsError, nearest
from bertsmith.text.layout import read_tokenizer_folder, write_tokenizer_folder
from bertsmith.text.normalization import bert_normalizer
from bertsmith.text.vocabulary import (
    CLS,
    CONTINUATION_PREFIX,
    LONE_SURROGATE,
    MASK,
    MAX_WORD_CHARACTERS,
    PAD,
    SEP,
    UNK,
    TokenizerSpec,
    check_embedding_size,
    check_tokens,
)

Ids: TypeAlias = NDArray[np.int32]
Text: TypeAlias = str | Sequence[str]  # a string, or words that are already separated
Truncation: TypeAlias = Literal["longest_first", "only_first", "only_second"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """One text, or a pair, as the model reads it: `[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`.

    input_ids: int32 [length]; num_pieces: how many pieces of each text are in; num_cut_tokens: how many truncation left
    out. The other views are worked out when they are asked for.
    """

    input_ids: Ids
    num_pieces: tuple[int, ...]
    num_cut_tokens: int
    has_special_tokens: bool
    _sources: tuple[tokenizers.Encoding, ...]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def token_type_ids(self) -> Ids:
        """int32 [length]: 0 up to and with the first `[SEP]`, 1 after it."""
        types = np.zeros(len(self.input_ids), dtype=np.int32)
        types[self.num_pieces[0] + 2 * self.has_special_tokens :] = 1
        return types

    @property
    def sequence_ids(self) -> list[int | None]:
        """Which text each token belongs to, 0 or 1; `None` for special tokens."""
        return self._laid_out([[text] * count for text, count in enumerate(self.num_pieces)], None)

    @property
    def word_ids(self) -> list[int | None]:
        """Which word of its text each token belongs to, counted as the caller gave them if words were given."""
        return self._laid_out([source.word_ids for source in self._sources], None)

    @property
    def offsets(self) -> NDArray[np.int32]:
        """int32 [length, 2]: start and end of each token in the caller's string, in characters; (0, 0) if special.

        Where the caller gave words, offsets count within the word.
        """
        offsets = self._laid_out([source.offsets for source in self._sources], (0, 0))
        return np.array(offsets, dtype=np.int32).reshape(-1, 2)

    def _laid_out(self, texts: Sequence[Sequence[T]], special: T) -> list[T]:
        border = [special] if self.has_special_tokens else []
        values = list(border)
        for text, count in zip(texts, self.num_pieces, strict=True):
            values += [*text[:count], *border]
        return values


def _longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """The longer text is cut down to the other, then both alike; an odd piece goes to the longer, or the second."""
    short, long = sorted((first, second))
    short = min(short, max(room // 2, room - long))
    return (short, room - short) if first <= second else (room - short, short)


# How many pieces of each text stay when together they have more than there is room for.
TRUNCATIONS: Final[dict[str, Callable[[int, int, int], tuple[int, int]]]] = {
    "longest_first": _longest_first,
    "only_first": lambda first, second, room: (room - second, second),
    "only_second": lambda first, second, room: (first, room - first),
}


class Tokenizer:
    """Text to ids and back, as BERT does it. Immutable; safe to use from several threads.

    vocab: tokens by id; pad_id, unk_id, cls_id, sep_id, mask_id: the special five; special_ids: those and other special
    added tokens, ascending; is_continuation: bool [vocab_size], whether a piece continues a word (`##`); fingerprint:
    SHA-256 of all that decides which ids a text gets.
    """

    def __init__(self, spec: TokenizerSpec, where: str = "vocabulary"):
        check_tokens(spec.tokens, where)
        self.spec = spec
        self.vocab = list(spec.tokens)
        self.vocab_size = len(self.vocab)
        self.lowercase = spec.lowercase
        self.fingerprint = spec.fingerprint
        self.ids = {token: number for number, token in enumerate(self.vocab)}
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            self.ids[token] for token in (PAD, UNK, CLS, SEP, MASK)
        )
        added = {token.content for token in spec.added_tokens}
        self.special_ids = tuple(sorted(self.ids[token.content] for token in spec.added_tokens if token.special))
        self.is_continuation = np.array(
            [token.startswith(CONTINUATION_PREFIX) and token not in added for token in self.vocab], dtype=np.bool_
        )
        with _panics_as(FileFormatError, where):
            self._core = _build_core(spec, self.ids)
        if any(self._core.token_to_id(token) != number for token, number in self.ids.items()):
            raise FileFormatError(f"{where}: the tokenizer core numbers the added tokens in another way than the file")

    @classmethod
    def from_vocab(
        cls,
        tokens: Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        handle_chinese_chars: bool = True,
    ) -> Self:
        """A tokenizer over `tokens` in order of their ids. strip_accents: `None` means as `lowercase`."""
        check_tokens(tokens, "vocabulary")
        return cls(TokenizerSpec(tuple(tokens), lowercase, strip_accents, handle_chinese_chars))

    @classmethod
    def load(cls, folder: Path | str, *, embedding_size: int | None = None) -> Self:
        """The tokenizer in a folder of the Hugging Face layout: `tokenizer.json`, or `vocab.txt` alone.

        embedding_size: rows of the model's embedding, if the tokenizer is for one; another size is refused. Raises
        `FileFormatError`, which names the file, the rule that it breaks and the way out.
        """
        tokenizer = cls(read_tokenizer_folder(Path(folder)), str(folder))
        if embedding_size is not None:
            check_embedding_size(tokenizer.vocab_size, embedding_size, str(folder))
        return tokenizer

    def save(self, folder: Path | str) -> None:
        """Write `tokenizer.json`, `vocab.txt` and `tokenizer_config.json`, which `transformers` loads as they are."""
        write_tokenizer_folder(Path(folder), self.spec, self._core.to_str(pretty=True))

    def encode(self, text: Text, pair: Text | None = None, *, max_length: int | None = None) -> Encoding:
        """One text or pair, as `encode_batch` does it."""
        return self.encode_batch([text], None if pair is None else [pair], max_length=max_length)[0]

    def encode_batch(
        self,
        texts: Sequence[Text],
        pairs: Sequence[Text] | None = None,
        *,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        add_special_tokens: bool = True,
    ) -> list[Encoding]:
        """Every text, or every text with its pair, in one call of the Rust core on all threads.

        max_length: in tokens, special ones included; `None` cuts nothing. A text may be a list of words. Raises
        `DataError` with the index of a text that is no text, or cannot be cut to `max_length` in the way asked for.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise DataError(f"{len(texts)} texts but {len(pairs)} pairs; each text needs its own")
        if truncation not in TRUNCATIONS:
            raise SettingsError(f"truncation {truncation!r}: {nearest(truncation, TRUNCATIONS)}")
        num_special = 0 if not add_special_tokens else 2 if pairs is None else 3
        if max_length is not None and max_length < num_special:
            raise SettingsError(f"max_length is {max_length} tokens, fewer than the {num_special} special ones")
        room = None if max_length is None else max_length - num_special
        sources = self._pieces(texts, fast=False)
        if pairs is None:
            return [self._single(source, room, add_special_tokens) for source in sources]
        both = zip(sources, self._pieces(pairs, fast=False, name="pair"), strict=True)
        return [
            self._pair(first, second, room, truncation, add_special_tokens, index)
            for index, (first, second) in enumerate(both)
        ]

    def pieces_batch(self, texts: Sequence[Text]) -> list[Ids]:
        """The ids of every text, int32 [length] each, without special tokens: the fast way for whole corpora."""
        return [np.array(source.ids, dtype=np.int32) for source in self._pieces(texts, fast=True)]

    def sources(self, texts: Sequence[Text]) -> list[tokenizers.Encoding]:
        """Every text whole and without special tokens, as the core gives it: ids, offsets and words."""
        return self._pieces(texts, fast=False)

    def decode(self, ids: Sequence[int] | Ids, skip_special_tokens: bool = True) -> str:
        """Readable text from ids: pieces joined to words, blanks before punctuation removed as `tokenizers` does."""
        numbers = [int(number) for number in ids]
        for number in numbers:
            if not 0 <= number < self.vocab_size:
                raise DataError(f"id {number} is not in the vocabulary of {self.vocab_size} tokens")
        return self._core.decode(numbers, skip_special_tokens=skip_special_tokens)

    def _single(self, source: tokenizers.Encoding, room: int | None, special: bool) -> Encoding:
        ids = source.ids
        total = len(ids)
        kept = total if room is None else min(total, room)
        if kept < total:
            ids = ids[:kept]
        if special:
            ids = [self.cls_id, *ids, self.sep_id]
        return Encoding(np.array(ids, dtype=np.int32), (kept,), total - kept, special, (source,))

    def _pair(
        self,
        first: tokenizers.Encoding,
        second: tokenizers.Encoding,
        room: int | None,
        truncation: Truncation,
        special: bool,
        index: int,
    ) -> Encoding:
        kept = (len(first), len(second))
        num_cut = 0 if room is None else max(0, sum(kept) - room)
        if room is not None and num_cut:
            kept = TRUNCATIONS[truncation](*kept, room)
            if min(kept) < (0 if truncation == "longest_first" else 1):
                raise DataError(
                    f"text {index}: {len(first)} and {len(second)} tokens cannot be cut to {room} by {truncation!r}: "
                    "the other text is too long; use 'longest_first' or a larger max_length"
                )
        ids = first.ids[: kept[0]], second.ids[: kept[1]]
        joined = [self.cls_id, *ids[0], self.sep_id, *ids[1], self.sep_id] if special else ids[0] + ids[1]
        return Encoding(np.array(joined, dtype=np.int32), kept, num_cut, special, (first, second))

    def _pieces(self, texts: Sequence[Text], fast: bool, name: str = "text") -> list[tokenizers.Encoding]:
        encode = self._core.encode_batch_fast if fast else self._core.encode_batch
        are_words = len(texts) > 0 and isinstance(texts[0], (list, tuple))
        try:
            with _panics_as(DataError, f"a {name}"):
                return encode(list(texts), is_pretokenized=are_words, add_special_tokens=False)
        except (TypeError, ValueError):
            _raise_for_bad_text(texts, are_words, name)
            raise


def _build_core(spec: TokenizerSpec, ids: dict[str, int]) -> tokenizers.Tokenizer:
    vocabulary = {token: ids[token] for token in spec.vocabulary}
    core = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=UNK, max_input_chars_per_word=MAX_WORD_CHARACTERS)
    )
    core.normalizer = bert_normalizer(spec)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single=f"{CLS}:0 $A:0 {SEP}:0",
        pair=f"{CLS}:0 $A:0 {SEP}:0 $B:1 {SEP}:1",
        special_tokens=[(CLS, ids[CLS]), (SEP, ids[SEP])],
    )
    core.decoder = decoders.WordPiece(prefix=CONTINUATION_PREFIX)
    for token in spec.added_tokens:
        added = tokenizers.AddedToken(**asdict(token))
        if token.special:
            core.add_special_tokens([added])
        else:
            core.add_tokens([added])
    return core


@contextmanager
def _panics_as(error: type[BertsmithError], where: str) -> Iterator[None]:
    """Rust's panics derive from `BaseException` and would end the process past every handler."""
    try:
        yield
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":
            raise
        raise error(f"{where}: the tokenizer core failed: {panic}") from None


def _raise_for_bad_text(texts: Sequence[Text], are_words: bool, name: str) -> None:
    for index, text in enumerate(texts):
        if not isinstance(text, (list, tuple) if are_words else str):
            expected = "a list of words, as the first is" if are_words else "a string"
            raise DataError(f"{name} {index}: expected {expected}, found {type(text).__name__}")
        for word in [text] if isinstance(text, str) else text:
            if not isinstance(word, str):
                raise DataError(f"{name} {index}: expected a string, found {type(word).__name__}")
            if surrogate := LONE_SURROGATE.search(word):
                raise DataError(
                    f"{name} {index}: lone surrogate {surrogate[0]!r} at character {surrogate.start()} is no text: "
                    "replace it, say by text.encode('utf-8', 'replace').decode()"
                )
