"""The ids of large texts, fast: what the tokenizer made of a word once is remembered. Knows no files.

BERT's tokenizer treats what stands between blanks apart, and most of any text is a few thousand words over and over; so
looking words up is several times as fast as tokenizing them again, and gives the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bertsmith.text.tokenizer import Ids, Tokenizer

_MAX_CHARACTERS = 16 << 20  # about 150 MB
_MARKS = ",.;:()\"'-/"  # words of their own to BERT, so that "word," is no other word than "word"
_ENTRY_CHARACTERS = 16  # what an entry costs beside its word, in characters


class PieceCache:
    """Ids of texts by a bounded memory of words; not for several threads at once."""

    def __init__(self, tokenizer: Tokenizer, max_characters: int = _MAX_CHARACTERS):
        self.tokenizer = tokenizer
        self._max_characters = max_characters
        self._num_characters = 0
        self._ids: dict[str, bytes] = {}
        # A token that holds a border of words is found only in whole texts.
        self._whole = any(set(token.content) & {" ", *_MARKS} for token in tokenizer.spec.added_tokens)

    def batch(self, texts: Sequence[str]) -> list[Ids]:
        """The same as `Tokenizer.pieces_batch`: int32 [length] for each text, without special tokens."""
        if self._whole:
            return self.tokenizer.pieces_batch(texts)
        words = [_spaced(text).split(" ") for text in texts]
        self._learn({word for split in words for word in split})
        return [np.frombuffer(b"".join(map(self._ids.__getitem__, split)), dtype=np.int32) for split in words]

    def _learn(self, words: set[str]) -> None:
        if self._num_characters > self._max_characters:
            self._ids.clear()
            self._num_characters = 0
        unknown = [word for word in words if word not in self._ids]
        ids = self.tokenizer.pieces_batch(unknown)
        self._ids.update(zip(unknown, (word.tobytes() for word in ids), strict=True))
        self._num_characters += sum(map(len, unknown)) + _ENTRY_CHARACTERS * len(unknown)


def _spaced(text: str) -> str:
    for mark in _MARKS:
        text = text.replace(mark, f" {mark} ")
    return text
