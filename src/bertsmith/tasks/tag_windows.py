"""The words of a request to windows of pieces, its document's neighbouring words around them where there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.batch import Window, concatenate
from bertsmith.tasks.tag_records import TagRequest
from bertsmith.text.tokenizer import TRUNCATIONS, Tokenizer
from bertsmith.text.windows import Pieces, TextWindow, WindowSettings, cut_windows, pieces_of

LabelledPieces = Literal["first", "all"]


def _none() -> NDArray[np.intp]:
    return np.empty(0, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class TagWindow(Window):
    """A window with the pieces that it answers for: their places in `input_ids` and the words that they belong to."""

    places: NDArray[np.intp] = field(default_factory=_none)
    words: NDArray[np.intp] = field(default_factory=_none)


@dataclass(frozen=True)
class TagWindows:
    """How words become windows. context_tokens: on each side. labelled: which pieces of a word answer for it."""

    settings: WindowSettings
    context_tokens: int
    labelled: LabelledPieces

    def of(self, request: TagRequest, words: Sequence[str], tokenizer: Tokenizer, where: str) -> list[TagWindow]:
        """At least one window. `words` are those of the request; if they fill a window, it has no context."""
        before = request.before[max(0, len(request.before) - self.context_tokens) :]
        after = request.after[: self.context_tokens]
        if before or after:
            (text,) = pieces_of(tokenizer, [[*before, *words, *after]])
            borders = np.array([len(before), len(before) + len(words)])
            start, end = (int(place) for place in text.word_ids.searchsorted(borders))
            if end - start <= self.settings.max_length - 2:
                return [self._in_context(text, start, end, len(before), tokenizer)]
        (text,) = pieces_of(tokenizer, [list(words)])
        cut = cut_windows(tokenizer, [text], self.settings, whole_words=True, where=where)
        return [self._alone(text, window, place) for place, window in enumerate(cut)]

    def _in_context(self, text: Pieces, start: int, end: int, num_before: int, tokenizer: Tokenizer) -> TagWindow:
        """The pieces from `start` to `end` with as many as fit on both sides, equally many where not all do."""
        sides = min(start, self.context_tokens), min(len(text) - end, self.context_tokens)
        room = self.settings.max_length - 2 - (end - start)
        first, second = sides if sum(sides) <= room else TRUNCATIONS["longest_first"](*sides, room)
        ids = np.empty(first + end - start + second + 2, dtype=np.int32)
        ids[0], ids[1:-1], ids[-1] = tokenizer.cls_id, text.ids[start - first : end + second], tokenizer.sep_id
        pieces = np.flatnonzero(self._answering(text)[start:end]) + start
        places = pieces - (start - first) + 1
        words = text.word_ids[pieces].astype(np.intp) - num_before
        return TagWindow(ids, np.zeros_like(ids), places=places, words=words)

    def _alone(self, text: Pieces, window: TextWindow, place: int) -> TagWindow:
        kept = window.kept[0]
        chosen = np.flatnonzero(window.owned & self._answering(text)[kept])
        return TagWindow(
            window.input_ids,
            window.token_type_ids,
            num_cut_tokens=window.num_cut_tokens,
            continues=place > 0,
            places=chosen + window.starts[0],
            words=text.word_ids[kept[chosen]].astype(np.intp),
        )

    def _answering(self, text: Pieces) -> NDArray[np.bool_]:
        """[n]: whether a piece answers for its word."""
        answering = np.full(len(text), self.labelled == "all")
        answering[text.word_starts] = True
        return answering


def read_words(windows: Sequence[TagWindow], num_words: int) -> NDArray[np.bool_]:
    """[num_words]: whether a window answers for the word; none does where it has no pieces, or was cut off."""
    read = np.zeros(num_words, dtype=np.bool_)
    for window in windows:
        read[window.words] = True
    return read


def stretches(words: NDArray[np.intp]) -> list[int]:
    """The lengths of the runs of neighbours among ascending words.

    >>> stretches(np.array([0, 1, 4, 5, 6]))
    [2, 3]
    """
    if not len(words):
        return []
    begins = np.flatnonzero(np.diff(words, prepend=words[0] - 2) > 1)
    return [int(length) for length in np.diff(begins, append=len(words))]


def chain_targets(windows: Sequence[TagWindow]) -> Mapping[str, NDArray[Any]]:
    """What a chain over words is compared with: a sequence is a stretch of neighbouring words in one window.

    labels: [words]. owners: [pieces], to which of the words a piece belongs. lengths: [n], words of each sequence.
    open: bool [n, 2], whether a word that another window reads stands before the sequence, and after it.
    """
    begins = [np.diff(window.words, prepend=-1) != 0 for window in windows]
    lengths = [stretches(window.words[begin]) for window, begin in zip(windows, begins, strict=True)]
    flat = np.array([length for part in lengths for length in part], dtype=np.int64)
    begin = np.concatenate(begins)
    labels, before, after = (
        concatenate(window.targets[name] for window in windows)[begin] for name in ("labels", "before", "after")
    )
    ends = flat.cumsum()
    borders = np.stack([before[ends - flat], after[ends - 1]], axis=1).astype(np.bool_)
    return {"labels": labels, "owners": np.cumsum(begin) - 1, "lengths": flat, "open": borders}
