"""Where each token of a window stands in the texts that it was made of: a tokenizer whose pieces have numbers for ids.

Whatever is done to pieces between a text and a window (cut, paired, joined), the numbers that arrive say what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.text.align import Span
from bertsmith.text.tokenizer import Text, Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class ReadText:
    """A text, or a list of words, as the tokenizer was given it.

    first: the number of its first piece. ids: [n]. word_ids: [n], -1 of special tokens that stand in the text. offsets:
    [n, 2], in the text; of words in their word.
    """

    text: Text
    first: int
    ids: NDArray[Any]
    word_ids: NDArray[Any]
    offsets: NDArray[Any]

    def spans(self) -> dict[int, Span]:
        """Of each word that has pieces, by its number, its characters in `as_text`."""
        if not isinstance(self.text, str):
            ends = np.cumsum([len(word) + 1 for word in self.text]) - 1
            words = dict.fromkeys(self.word_ids[self.word_ids >= 0].tolist())
            return {number: (int(ends[number]) - len(self.text[number]), int(ends[number])) for number in words}
        spans: dict[int, Span] = {}
        for number, (start, end) in zip(self.word_ids.tolist(), self.offsets.tolist(), strict=True):
            if number < 0:
                continue
            known = spans.get(number, (start, end))
            spans[number] = (min(known[0], start), max(known[1], end))
        return spans

    @property
    def as_text(self) -> str:
        """Words with a blank between any two."""
        return self.text if isinstance(self.text, str) else " ".join(self.text)


@dataclass(frozen=True, slots=True)
class _Numbered:
    """What `Tokenizer` wants of an encoding of the core."""

    ids: list[int]
    offsets: list[Span]
    word_ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class TracingTokenizer(Tokenizer):
    """As the given one, but every piece that is not special has a number of its own, from `vocab_size` on, for an id.

    read: what was tokenized, in order. Made for one encoding, and then asked what its ids were; not for threads.
    """

    def __init__(self, tokenizer: Tokenizer):
        self.__dict__.update(tokenizer.__dict__)
        self.read: list[ReadText] = []
        self._num_pieces = 0

    def pieces(self, traced_ids: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
        """[length] -> which number each token has, counted from 0 over all texts that were read; -1 of special ones."""
        ids = np.asarray(traced_ids, dtype=np.int64)
        return np.where(ids >= self.vocab_size, ids - self.vocab_size, -1)

    def plain(self, traced_ids: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
        """[length] -> the ids that the tokenizer would have given."""
        numbers = self.pieces(traced_ids)
        known = np.concatenate([np.empty(0, dtype=np.int64), *(text.ids for text in self.read)])
        ids = np.array(traced_ids, dtype=np.int64)
        ids[numbers >= 0] = known[numbers[numbers >= 0]]
        return ids

    def _pieces(self, texts: Sequence[Text], fast: bool, name: str = "text") -> list[Any]:
        found = super()._pieces(texts, False, name)
        return [self._numbered(text, source) for text, source in zip(texts, found, strict=True)]

    def _numbered(self, text: Text, source: Any) -> _Numbered:
        ids = np.array(source.ids, dtype=np.int64)
        # What stands for an unknown word is as good as any other piece.
        is_special = np.isin(ids, self.special_ids) & (ids != self.unk_id)
        word_ids = np.where(is_special, -1, np.array(source.word_ids, dtype=np.int64))
        offsets = np.array(source.offsets, dtype=np.int64).reshape(-1, 2)
        self.read.append(ReadText(text, self._num_pieces, ids, word_ids, offsets))
        numbers = self.vocab_size + self._num_pieces + np.arange(len(ids))
        self._num_pieces += len(ids)
        return _Numbered(np.where(is_special, ids, numbers).tolist(), source.offsets, source.word_ids)
