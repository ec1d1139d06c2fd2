"""Documents cut into passages: whole sentences up to a number of pieces, with their places in the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from pydantic import Field

from bertsmith.search.documents import Document
from bertsmith.settings import Settings
from bertsmith.text.sentences import split_sentences
from bertsmith.text.tokenizer import Ids, Tokenizer


class PassageSettings(Settings):
    """How documents are cut."""

    passage_tokens: int = Field(200, ge=8, description="pieces of a passage at most, its document's title not included")
    overlap_sentences: int = Field(1, ge=0, description="sentences that a passage has in common with the one before it")


@dataclass(frozen=True, slots=True)
class Passage:
    """start, end: characters of the document's text. pieces: of title and passage, by which words are searched."""

    start: int
    end: int
    pieces: Ids


@dataclass(frozen=True, slots=True)
class _Part:
    """A sentence, or of a long one a run of pieces that fits."""

    start: int
    end: int
    pieces: Ids


def cut_document(document: Document, tokenizer: Tokenizer, settings: PassageSettings) -> list[Passage]:
    """Its passages in order; together they hold every sentence. A document of no pieces is one passage."""
    parts = _parts(document.text, tokenizer, settings.passage_tokens)
    title = tokenizer.pieces_batch([document.title])[0] if document.title else np.empty(0, np.int32)
    passages: list[Passage] = []
    begin = 0
    while begin < len(parts):
        end, size = begin, 0
        while end < len(parts) and (end == begin or size + len(parts[end].pieces) <= settings.passage_tokens):
            size += len(parts[end].pieces)
            end += 1
        chosen = parts[begin:end]
        pieces = np.concatenate([title, *(part.pieces for part in chosen)])
        passages.append(Passage(chosen[0].start, chosen[-1].end, pieces))
        # The next one begins later than this one did, whatever the overlap.
        begin = end if end == len(parts) else max(begin + 1, end - settings.overlap_sentences)
    return passages


def _parts(text: str, tokenizer: Tokenizer, limit: int) -> list[_Part]:
    spans = split_sentences(text)
    counted = tokenizer.pieces_batch([text[start:end] for start, end in spans])
    parts: list[_Part] = []
    for (start, end), pieces in zip(spans, counted, strict=True):
        if len(pieces) <= limit:
            parts.append(_Part(start, end, pieces))
        else:
            parts += _divided(text[start:end], start, tokenizer, limit)
    return parts


def _divided(sentence: str, at: int, tokenizer: Tokenizer, limit: int) -> list[_Part]:
    """A sentence that is too long, cut between pieces; nothing of it is left out."""
    encoding = tokenizer.encode(sentence)
    inner = slice(1, len(encoding) - 1)
    ids, offsets = encoding.input_ids[inner], encoding.offsets[inner]
    firsts: Sequence[int] = range(0, len(ids), limit)
    starts = [0, *(int(offsets[first][0]) for first in firsts[1:])]
    ends = [start + len(sentence[start:end].rstrip()) for start, end in pairwise([*starts, len(sentence)])]
    return [
        _Part(at + start, at + end, ids[first : first + limit])
        for start, end, first in zip(starts, ends, firsts, strict=True)
    ]
