"""Where blanks belong between words that a tokenizer has separated at punctuation: learned from text, language by none.

BERT's tokenizer forgets whether `T-Shirt` was written with blanks around its hyphen. What is learned for each mark is
on which sides it usually touches its neighbours; a mark that does either as often, as a quotation mark, opens and
closes in turn. Between two digits it is a mark of its own: `10:30` and `3,5` touch where a colon or a comma does not.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from bertsmith.text.tags import word_borders
from bertsmith.text.vocabulary import CONTINUATION_PREFIX

Side: TypeAlias = Literal["left", "right", "both", "none", "turns"]
"""Where a mark touches its neighbour."""

MIN_SHARE = 0.2
"""Of its occurrences, within which a mark that touches one side alone does so on either, to be one that takes turns."""
USUAL: dict[str, Side] = {
    **dict.fromkeys(".,;:!?%)]}\u2019", "left"),
    **dict.fromkeys("([{\u00bf\u00a1$#", "right"),
    **dict.fromkeys("-'/_@\\\u3002\uff0c\u3001\uff1b\uff1a\uff01\uff1f\u300c\u300d\u300a\u300b\uff08\uff09", "both"),
    '"': "turns",
}
"""Of marks that the text it is learned from does not show."""


IN_NUMBERS = frozenset(".,:/-'\u2019\u2013")
"""Marks that between two digits touch both, where the text does not show it."""


def learn_spacing(texts: Iterable[str]) -> dict[str, Side]:
    """For each mark in the texts the side on which it touches its neighbours, as most of its occurrences have it.

    >>> learn_spacing(["A T-shirt.", "(No!)", "It is 1:0!"])
    {'!': 'left', '(': 'right', '-': 'both', '.': 'left', '0:0': 'both'}

    The last is what a mark between two digits is called.
    """
    seen: dict[str, Counter[Side]] = {}
    for text in texts:
        borders = word_borders(text).tolist()
        words = [text[start:end] for start, end in borders]
        for place, word in enumerate(words):
            if not is_mark(word):
                continue
            before, after = words[max(place - 1, 0) : place], words[place + 1 : place + 2]
            left = bool(before) and not is_mark(before[0]) and borders[place - 1][1] == borders[place][0]
            right = bool(after) and not is_mark(after[0]) and borders[place + 1][0] == borders[place][1]
            side: Side = "both" if left and right else "left" if left else "right" if right else "none"
            # A mark beside it touches it for its own reasons, as a comma a closing quotation mark: that tells nothing.
            if side != "none" or not any(map(is_mark, before + after)):
                seen.setdefault(_called(words, place), Counter())[side] += 1
    return {mark: _usual(counts) for mark, counts in sorted(seen.items())}


def _usual(counts: Mapping[Side, int]) -> Side:
    left, right, total = counts.get("left", 0), counts.get("right", 0), sum(counts.values())
    if left + right > total / 2 and min(left, right) > MIN_SHARE * total:
        return "turns"
    return max(counts, key=lambda side: counts[side])


def join_words(words: Sequence[str], spacing: Mapping[str, Side]) -> str:
    """The words with blanks between them where they belong; ideographs stand without.

    >>> join_words(["(", "No", ")", "-", "one", "said", '"', "yes", '"', ":", "3", ",", "5", "."], {})
    '(No)-one said "yes": 3,5.'
    """
    parts: list[str] = []
    turns: Counter[str] = Counter()
    touches = True  # whether what comes next touches what is there
    before = ""
    for place, word in enumerate(words):
        side: Side = "none"
        if is_mark(word):
            side = _side(_called(words, place), word, spacing)
            if side == "turns":
                turns[word] += 1
                side = "right" if turns[word] % 2 else "left"
        joined = touches or side in ("left", "both") or (_is_ideographic(before) and _is_ideographic(word))
        parts.append(word if joined or not parts else f" {word}")
        touches = side in ("right", "both")
        before = word
    return "".join(parts)


def _called(words: Sequence[str], place: int) -> str:
    """The mark at this place as what is learned of it is called: between two digits `0:0`, say, else as it is."""
    mark = words[place]
    is_inside = 0 < place < len(words) - 1 and words[place - 1][-1:].isdigit() and words[place + 1][:1].isdigit()
    return f"0{mark}0" if is_inside else mark


def _side(called: str, mark: str, spacing: Mapping[str, Side]) -> Side:
    if called in spacing:
        return spacing[called]
    if called != mark and mark in IN_NUMBERS:
        return "both"
    return spacing.get(mark) or USUAL.get(mark, "left")


def join_pieces(pieces: Sequence[str], spacing: Mapping[str, Side]) -> str:
    """As `join_words`, of the pieces of words.

    >>> join_pieces(["walk", "##ing", "home", "."], {})
    'walking home.'
    """
    words: list[str] = []
    for piece in pieces:
        bare = piece.removeprefix(CONTINUATION_PREFIX)
        if bare != piece and words:
            words[-1] += bare
        else:
            words.append(bare)
    return join_words(words, spacing)


def join_texts(texts: Sequence[str]) -> str:
    """Texts one after another, with a blank between two unless both are of ideographs there; empty ones add none.

    >>> join_texts(["Yes.", "", "No."]), join_texts(["\u6211\u5728\u3002", "\u4f60\u597d"])
    ('Yes. No.', '\u6211\u5728\u3002\u4f60\u597d')
    """
    joined = ""
    for text in filter(None, texts):
        touches = not joined or (_is_ideographic(joined[-1]) and _is_ideographic(text[0]))
        joined += text if touches else f" {text}"
    return joined


def is_mark(word: str) -> bool:
    """Whether this is one mark of punctuation, as BERT separates them: also ASCII's symbols."""
    return len(word) == 1 and not word.isalnum() and (word.isascii() or unicodedata.category(word)[0] == "P")


def _is_ideographic(word: str) -> bool:
    """Of Chinese, or its punctuation, which no blanks surround."""
    return bool(word) and unicodedata.east_asian_width(word[-1]) in ("W", "F") and not "\uac00" <= word[-1] <= "\ud7a3"
