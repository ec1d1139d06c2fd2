"""Long texts to windows that a model can read, by one policy for every task; what no window holds is counted, always.

Knows pieces and lengths, nothing of what is asked about a text. A window is `[CLS] text [SEP]` or
`[CLS] first [SEP] second [SEP]`; where one of two texts is cut into windows, each has the other beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import tokenizers
from numpy.typing import NDArray
from pydantic import Field

from bertsmith.errors import DataError, SettingsError
from bertsmith.settings import Settings
from bertsmith.text.tokenizer import TRUNCATIONS, Ids, Text, Tokenizer

LongTextPolicy: TypeAlias = Literal["error", "head", "tail", "head_tail", "windows"]


class WindowSettings(Settings):
    """How a task reads texts that are longer than a window; the settings of such a task inherit these."""

    max_length: int = Field(512, ge=3, description="longest window with its special tokens, in tokens")
    truncation: LongTextPolicy = Field(
        "windows",
        description="a longer text is refused, keeps its head, its tail, a quarter of head and the rest of tail, or is "
        "read in overlapping windows; what is cut is counted",
    )
    stride: int = Field(
        128, ge=0, description="tokens of a text that neighbouring windows share, at most half of what a window holds"
    )


@dataclass(frozen=True, eq=False)
class Pieces:
    """A whole text as the tokenizer cuts it, without special tokens; ids: int32 [n]. Made by `pieces_of`.

    The other views are worked out when they are first asked for.
    """

    ids: Ids
    _source: tokenizers.Encoding

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def offsets(self) -> NDArray[np.int32]:
        """int32 [n, 2]: start and end of each piece in the caller's string, in characters; if words: in its word."""
        return np.array(self._source.offsets, dtype=np.int32).reshape(-1, 2)

    @cached_property
    def word_ids(self) -> Ids:
        """int32 [n]: which word each piece belongs to, counted as the caller gave them if words were given."""
        return np.array(self._source.word_ids, dtype=np.int32)

    @cached_property
    def word_starts(self) -> NDArray[np.intp]:
        """The pieces that begin a word, ascending."""
        return np.flatnonzero(np.diff(self.word_ids, prepend=-1))


@dataclass(frozen=True, slots=True, eq=False)
class TextWindow:
    """One window over one text or two.

    input_ids, token_type_ids: int32 [length], special tokens included. kept: for each text the indices of its pieces
    that are in this window, ascending; starts: the place in `input_ids` of each text's first kept piece. slid: the text
    that was cut, if one had to be; owned: bool [len(kept[slid])], whether this window answers for the piece. Of the
    windows that share a piece it is the one with most of the text on the piece's shorter side, of equals the earlier.
    num_cut_tokens: pieces of all texts that no window holds, stated by the first window, 0 in the others.
    """

    input_ids: Ids
    token_type_ids: Ids
    kept: tuple[Ids, ...]
    starts: tuple[int, ...]
    owned: NDArray[np.bool_]
    num_cut_tokens: int = 0
    slid: int = 0


def pieces_of(tokenizer: Tokenizer, texts: Sequence[Text]) -> list[Pieces]:
    """Each text whole, as strings or all as lists of words; a `DataError` names the index of what is no text."""
    return [Pieces(np.array(source.ids, dtype=np.int32), source) for source in tokenizer.sources(texts)]


def cut_windows(
    tokenizer: Tokenizer,
    texts: Sequence[Pieces],
    settings: WindowSettings,
    *,
    slide: int | None = None,
    whole_words: bool = False,
    where: str = "text",
) -> list[TextWindow]:
    """One text, or two, in as many windows as it takes: at least one, of at most `settings.max_length` tokens.

    slide: which of two texts is cut or read in windows. The other stays whole, or, if it is longer than half of what a
    window holds, keeps that half. `None`: the longer text is cut first, until both are alike; under `windows` the
    longer one, of equals the second, is the one. whole_words: no border separates the pieces of a word, unless it is
    longer than a window; neighbours then share no more than the whole words that fit into `stride` pieces, and a word
    is owned whole. where: names the text in errors. Raises `DataError` under the policy `error`, and `SettingsError`
    where a window has no room at all.
    """
    assert slide is None or 0 <= slide < len(texts)
    lengths = [len(text) for text in texts]
    room = settings.max_length - 1 - len(texts)
    if sum(lengths) <= room:
        kept = tuple(np.arange(length, dtype=np.int32) for length in lengths)
        return [_window(tokenizer, texts, kept, slid=_slid(lengths, slide))]
    assert len(texts) in (1, 2), "more texts than a pair are the turns of a dialogue, see `turns.py`"
    if settings.truncation == "error":
        raise DataError(
            f"{where}: {sum(lengths) + 1 + len(texts)} tokens with the special ones, more than max_length "
            f"{settings.max_length}; raise max_length, or choose truncation 'windows', 'head', 'tail' or 'head_tail'"
        )
    if room < 1:
        raise SettingsError(f"{where}: a window of 3 tokens holds nothing of two texts; choose a larger max_length")
    if settings.truncation == "windows":
        return _slide(tokenizer, texts, room, settings.stride, _slid(lengths, slide), whole_words)
    counts = [room] if len(texts) == 1 else _shares(lengths, room, slide)
    kept = tuple(
        _kept(text, count, settings.truncation, whole_words) for text, count in zip(texts, counts, strict=True)
    )
    return [_window(tokenizer, texts, kept, slid=_slid(lengths, slide), num_cut_tokens=sum(lengths) - _total(kept))]


def _slid(lengths: Sequence[int], slide: int | None) -> int:
    if slide is not None:
        return slide
    return int(len(lengths) == 2 and lengths[1] >= lengths[0])


def _shares(lengths: Sequence[int], room: int, slide: int | None) -> list[int]:
    """How many pieces of each of two texts stay, when together they have more than there is room for."""
    if slide is None:
        return list(TRUNCATIONS["longest_first"](lengths[0], lengths[1], room))
    other = min(lengths[1 - slide], max(room // 2, room - lengths[slide]))
    return [other, room - other] if slide else [room - other, other]


def _total(kept: Sequence[Ids]) -> int:
    return sum(map(len, kept))


def _kept(text: Pieces, count: int, policy: LongTextPolicy, whole_words: bool) -> Ids:
    """Which pieces stay when only `count` can; `head_tail` divides 512 tokens as Sun et al. 2019: 128 and 382."""
    length = len(text)
    if count >= length:
        return np.arange(length, dtype=np.int32)
    head = {"tail": 0, "head_tail": (count + 2) // 4}.get(policy, count)
    tail = length - (count - head)
    if whole_words:
        head = _word_border_before(text, head) or head
        tail = tail if (border := _word_border_from(text, tail)) == length else border
    return np.concatenate([np.arange(head, dtype=np.int32), np.arange(tail, length, dtype=np.int32)])


def _word_border_before(text: Pieces, place: int) -> int:
    """The last border of words up to and with `place`."""
    return len(text) if place == len(text) else int(text.word_starts[text.word_starts.searchsorted(place, "right") - 1])


def _word_border_from(text: Pieces, place: int) -> int:
    """The first border of words from `place` on."""
    index = text.word_starts.searchsorted(place)
    return len(text) if index == len(text.word_starts) else int(text.word_starts[index])


def _slide(
    tokenizer: Tokenizer, texts: Sequence[Pieces], room: int, stride: int, slid: int, whole_words: bool
) -> list[TextWindow]:
    kept: list[Ids] = [np.empty(0, dtype=np.int32)] * len(texts)
    if len(texts) == 2:
        count = _shares([len(text) for text in texts], room, slid)[1 - slid]
        kept[1 - slid] = _kept(texts[1 - slid], count, "head", whole_words)
        room -= len(kept[1 - slid])
    text = texts[slid]
    num_cut_tokens = sum(map(len, texts)) - len(text) - _total(kept)
    spans = list((_whole_word_spans if whole_words else _spans)(text, room, min(stride, room // 2)))
    borders = [0, *(_owner_border(text, *pair, whole_words) for pair in pairwise(spans)), len(text)]
    windows: list[TextWindow] = []
    for (start, end), (first_owned, end_owned) in zip(spans, pairwise(borders), strict=True):
        kept[slid] = np.arange(start, end, dtype=np.int32)
        window = _window(tokenizer, texts, tuple(kept), slid=slid, num_cut_tokens=0 if windows else num_cut_tokens)
        window.owned[: first_owned - start] = False
        window.owned[end_owned - start :] = False
        windows.append(window)
    return windows


def _spans(text: Pieces, room: int, shared: int) -> Iterator[tuple[int, int]]:
    """First piece and end of every window: all as long as can be, but the last."""
    for start in range(0, max(1, len(text) - shared), max(1, room - shared)):
        yield start, min(start + room, len(text))


def _whole_word_spans(text: Pieces, room: int, shared: int) -> Iterator[tuple[int, int]]:
    """The same between words; a word longer than `room` is the only one that is cut."""
    start, reached = 0, 0
    while True:
        end = min(start + room, len(text))
        border = _word_border_before(text, end)
        end = border if border > reached else end
        yield start, end
        if end == len(text):
            return
        reached = end
        start = _next_start(text, room, end, shared)


def _next_start(text: Pieces, room: int, reached: int, shared: int) -> int:
    """Where the window after one that ends at `reached` begins: with room for one word that is new, if it can."""
    new_word = _word_border_from(text, reached + 1) - reached
    start = max(reached - shared, reached + new_word - room) if new_word <= room else reached - shared
    return min(_word_border_from(text, start), reached)


def _owner_border(text: Pieces, span: tuple[int, int], after: tuple[int, int], whole_words: bool) -> int:
    """Pieces that two windows share are owned by the nearer of them: their middle, the odd one to the earlier."""
    middle = (after[0] + span[1] + 1) // 2
    return max(after[0], _word_border_before(text, middle)) if whole_words else middle


def _window(
    tokenizer: Tokenizer, texts: Sequence[Pieces], kept: tuple[Ids, ...], *, slid: int, num_cut_tokens: int = 0
) -> TextWindow:
    input_ids = np.empty(_total(kept) + 1 + len(kept), dtype=np.int32)
    input_ids[0] = tokenizer.cls_id
    place = 1
    starts = []
    for text, pieces in zip(texts, kept, strict=True):
        starts.append(place)
        end = place + len(pieces)
        input_ids[place:end] = text.ids if len(pieces) == len(text) else text.ids[pieces]
        input_ids[end] = tokenizer.sep_id
        place = end + 1
    token_type_ids = np.zeros(len(input_ids), dtype=np.int32)
    # Of a pair the second text is of type 1; of a dialogue so is every other turn, counted back from the last.
    for place in range(len(kept) - 1, -1, -2) if len(kept) > 1 else ():
        token_type_ids[starts[place] : starts[place] + len(kept[place]) + 1] = 1
    owned = np.ones(len(kept[slid]), dtype=np.bool_)
    return TextWindow(input_ids, token_type_ids, kept, tuple(starts), owned, num_cut_tokens, slid)
