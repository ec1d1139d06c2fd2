"""What defines a BERT tokenizer, as plain data: its tokens in order of their ids, and how text is normalized.

Knows the rules that such a definition must keep, and nothing of files or of encoding.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from bertsmith.errors import FileFormatError

PAD: Final = "[PAD]"
UNK: Final = "[UNK]"
CLS: Final = "[CLS]"
SEP: Final = "[SEP]"
MASK: Final = "[MASK]"
SPECIAL_TOKENS: Final = (PAD, UNK, CLS, SEP, MASK)

CONTINUATION_PREFIX: Final = "##"
MAX_WORD_CHARACTERS: Final = 100  # a longer word becomes [UNK]: google-research/bert, tokenization.py

LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
EMBEDDING_PADDING_ROWS: Final = 128  # checkpoints round their embedding up to a multiple of at most this many rows


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is looked for in the raw text, before normalization and pre-tokenization unless `normalized`.

    The fields are those of an entry of `added_tokens` in `tokenizer.json`.
    """

    content: str
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


BERT_ADDED_TOKENS: Final = tuple(AddedToken(token) for token in SPECIAL_TOKENS)


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """A whole tokenizer as data.

    vocabulary: the WordPiece model's tokens by id; lowercase, strip_accents (`None`: as `lowercase`),
    handle_chinese_chars: BERT's normalization; added_tokens: found in raw text, the five special ones among them, and
    those that are not in the vocabulary numbered on from its end; model_max_length: the longest input, in tokens, that
    the model was made for, where the files say so.
    """

    vocabulary: tuple[str, ...]
    lowercase: bool = True
    strip_accents: bool | None = None
    handle_chinese_chars: bool = True
    added_tokens: tuple[AddedToken, ...] = BERT_ADDED_TOKENS
    model_max_length: int | None = None

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens by id."""
        known = set(self.vocabulary)
        return self.vocabulary + tuple(token.content for token in self.added_tokens if token.content not in known)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides which ids a text gets."""
        added = sorted((asdict(token) for token in self.added_tokens), key=lambda token: str(token["content"]))
        content = [self.tokens, self.lowercase, self.strip_accents, self.handle_chinese_chars, added]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_tokens(tokens: Sequence[str], where: str) -> None:
    """Refuse, as a `FileFormatError` that names `where`, a vocabulary that no BERT tokenizer can work with."""
    ids: dict[str, int] = {}
    for number, token in enumerate(tokens):
        if not isinstance(token, str):
            raise FileFormatError(f"{where}: token {number} is {token!r}, expected a string")
        if "\n" in token or "\r" in token:
            raise FileFormatError(f"{where}: token {number} is {token!r}; a token cannot hold a line break")
        if LONE_SURROGATE.search(token):
            raise FileFormatError(f"{where}: token {number} is {token!r}; a lone surrogate is no character")
        if token in ids:
            raise FileFormatError(
                f"{where}: token {token!r} stands at id {ids[token]} and at id {number}; each token needs one id: "
                "remove one, together with its row of the embedding"
            )
        ids[token] = number
    missing = [token for token in SPECIAL_TOKENS if token not in ids]
    if missing:
        raise FileFormatError(
            f"{where}: no {', '.join(missing)} among the {len(tokens)} tokens; BERT needs {' '.join(SPECIAL_TOKENS)}: "
            "use the vocabulary that the model was trained with, or learn one with `bertsmith tokenizer train`"
        )


def check_embedding_size(num_tokens: int, embedding_size: int, where: str) -> None:
    """Refuse a vocabulary for an embedding of another size; a few rows more are padding, as checkpoints have it."""
    if not num_tokens <= embedding_size < num_tokens + EMBEDDING_PADDING_ROWS:
        raise FileFormatError(
            f"{where}: {num_tokens} tokens, but the model's embedding has {embedding_size} rows; the tokenizer belongs "
            "to another model: take the tokenizer files from the model's own folder"
        )
