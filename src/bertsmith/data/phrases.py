"""A user's dictionary of phrases and entities, as sequences of ids: what is masked as one (Sun et al. 2019, ERNIE).

A line is a phrase and, after a tab, its kind: `entity`, or `phrase`, which is supposed where nothing stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.entries import first_of, why_nowhere
from bertsmith.data.lines import Reading, read_lines
from bertsmith.data.marks import CONTINUES_ENTITY, CONTINUES_PHRASE
from bertsmith.errors import DataError, nearest
from bertsmith.model.id_sequences import IdSequences
from bertsmith.text.tokenizer import Tokenizer

PhraseKind: TypeAlias = Literal["phrase", "entity"]
KINDS: tuple[PhraseKind, ...] = get_args(PhraseKind)


@dataclass(frozen=True, slots=True)
class Phrase:
    """An entry of the dictionary. ids: of its pieces, none unknown or special."""

    text: str
    kind: PhraseKind
    line: int
    ids: tuple[int, ...]


class Phrases:
    """The dictionary, ready to mark runs of ids. Every entity is a phrase too."""

    def __init__(self, entries: tuple[Phrase, ...], tokenizer: Tokenizer):
        self.entries = entries
        continuations = frozenset(np.flatnonzero(tokenizer.is_continuation).tolist())
        self._all = IdSequences([entry.ids for entry in entries], continuations)
        # By themselves once more: an entity counts within a longer phrase.
        self._entities = IdSequences([entry.ids for entry in entries if entry.kind == "entity"], continuations)

    def marks(self, ids: NDArray[Any]) -> NDArray[np.uint8]:
        """[n] for [n] ids: `CONTINUES_PHRASE` and `CONTINUES_ENTITY` at all tokens of one but its first."""
        marks = np.zeros(len(ids), dtype=np.uint8)
        for sequences, mark in ((self._all, CONTINUES_PHRASE), (self._entities, CONTINUES_ENTITY)):
            for found in sequences.find(ids):
                marks[found.start + 1 : found.end] |= mark
        return marks


def read_phrases(path: Path, tokenizer: Tokenizer) -> Phrases:
    """The dictionary in `path`.

    Raises `DataError`, with the first ten faults, for an unknown kind, a phrase without tokens, with ones that the
    tokenizer does not know or with special ones, and for two entries that are the same to the tokenizer and of
    different kinds.
    """
    found: dict[tuple[int, ...], Phrase] = {}
    faults: list[str] = []
    for entry in _entries(path, tokenizer, faults):
        first = found.setdefault(entry.ids, entry)
        if first.kind != entry.kind:
            faults.append(
                f"{path}, line {entry.line}: {entry.text!r} is of kind {entry.kind!r}, and line {first.line} has "
                f"{first.text!r}, the same to the tokenizer, of kind {first.kind!r}; leave one of the two out"
            )
    if faults:
        raise DataError(first_of(faults))
    if not found:
        raise DataError(f"{path}: expected phrases, one a line, found none")
    return Phrases(tuple(found.values()), tokenizer)


def _entries(path: Path, tokenizer: Tokenizer, faults: list[str]) -> Iterator[Phrase]:
    """The good entries; what is wrong with others goes to `faults`."""
    for line in read_lines(path, Reading()):
        text, _, kind = (part.strip() for part in line.text.partition("\t"))
        if not text and not kind:
            continue
        kind = kind or "phrase"
        where = f"{path}, line {line.number}: "
        ids = tuple(tokenizer.pieces_batch([text])[0].tolist())
        if kind not in KINDS:
            faults.append(f"{where}unknown kind {kind!r}; {nearest(kind, KINDS)}")
        elif why := why_nowhere(ids, tokenizer):
            faults.append(f"{where}{text!r} {why}; leave it out")
        else:
            yield Phrase(text, "entity" if kind == "entity" else "phrase", line.number, ids)
