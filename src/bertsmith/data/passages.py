"""Pre-training's rows: passages of consecutive sentences of a corpus, by index. Knows no masks, no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.marks import marked
from bertsmith.errors import DataError

Ids = NDArray[Any]


class SentenceStore(Protocol):
    """What a corpus has to offer: its documents' sentences as ids, with marks if it has some."""

    @property
    def num_documents(self) -> int: ...

    @property
    def sentence_lengths(self) -> NDArray[Any]: ...

    def document_sentences(self, document: int) -> range: ...

    def sentence(self, index: int) -> Ids: ...

    def marks(self, index: int) -> NDArray[np.uint8] | None: ...


@dataclass(frozen=True, slots=True)
class Passage:
    """Consecutive sentences of one document, each an array of ids without special tokens, marked where they are."""

    sentences: tuple[Ids, ...]
    document: int
    source: Passages


class Passages(Sequence[Passage]):
    """A corpus cut into passages of about `max_tokens`, never across documents (Devlin et al. 2019, appendix A.2).

    short_fraction: share of the passages that aim at a random shorter length, so that short inputs are seen too.
    The cuts are a function of these arguments alone.
    """

    def __init__(
        self,
        corpus: SentenceStore,
        *,
        max_tokens: int,
        short_fraction: float = 0.1,
        seed: int = 0,
    ):
        self.corpus = corpus
        rng = np.random.default_rng(seed)
        lengths = corpus.sentence_lengths
        spans: list[tuple[int, int, int]] = []
        for document in range(corpus.num_documents):
            sentences = corpus.document_sentences(document)
            first, filled, aim = sentences.start, 0, _aim(max_tokens, short_fraction, rng)
            for index in sentences:
                filled += int(lengths[index])
                if filled >= aim or index == sentences.stop - 1:
                    if filled:
                        spans.append((document, first, index + 1))
                    first, filled, aim = index + 1, 0, _aim(max_tokens, short_fraction, rng)
        if not spans:
            raise DataError("the corpus holds no sentence with any token")
        self._spans = np.array(spans, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, index: int) -> Passage: ...
    @overload
    def __getitem__(self, index: slice) -> list[Passage]: ...
    def __getitem__(self, index: int | slice) -> Passage | list[Passage]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        document, first, last = (int(value) for value in self._spans[index])
        sentences = tuple(s for s in map(self._sentence, range(first, last)) if len(s))
        return Passage(sentences, document, self)

    def _sentence(self, index: int) -> Ids:
        ids, marks = self.corpus.sentence(index), self.corpus.marks(index)
        return ids if marks is None else marked(ids, marks)

    def elsewhere(self, document: int, rng: np.random.Generator) -> Passage:
        """A random passage of another document, each as likely; of this one where there is no other."""
        first, last = np.searchsorted(self._spans[:, 0], [document, document + 1]).tolist()
        others = len(self) - (last - first)
        if not others:
            return self[int(rng.integers(len(self)))]
        place = int(rng.integers(others))
        return self[place if place < first else place + last - first]


def _aim(max_tokens: int, short_fraction: float, rng: np.random.Generator) -> int:
    return int(rng.integers(2, max_tokens + 1)) if rng.random() < short_fraction else max_tokens
