"""Small changes of a text that a reader reads over: typos, case, punctuation, dropped words. Knows strings only.

A change that keeps places gives a text of the same length, with blanks and punctuation where they were: what is said of
places in the text (tags of words, the span of an answer) still holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np

Draw: TypeAlias = Callable[[str, np.random.Generator], str]

IDEOGRAPHS = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf"
    "\U0002f800-\U0002fa1f"
)
"""Those that BERT's tokenizer takes for words of their own."""
LETTERS = re.compile(rf"[^\W\d_{IDEOGRAPHS}]{{2,}}|[{IDEOGRAPHS}]{{2,}}")
"""What a typo can be in: letters in a row, or ideographs."""
KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
PUNCTUATION = " .,;:!?…。!?"


@dataclass(frozen=True, slots=True)
class TextChange:
    """name: for people and settings. keeps_places: see above. is_case: only the case of letters, answers' too.

    apply: the changed text; what is drawn comes from the generator.
    """

    name: str
    what: str
    keeps_places: bool
    apply: Draw = field(repr=False)
    is_case: bool = False


def _neighbours() -> dict[str, str]:
    """Of each letter those beside it on a QWERTY keyboard: left, right, and the nearest two in the rows next to it."""
    found: dict[str, set[str]] = {}
    for number, row in enumerate(KEY_ROWS):
        for place, letter in enumerate(row):
            beside = {row[i] for i in (place - 1, place + 1) if 0 <= i < len(row)}
            for other, shift in ((number - 1, 0), (number + 1, -1)):
                if 0 <= other < len(KEY_ROWS):
                    keys = KEY_ROWS[other]
                    beside |= {keys[i] for i in (place + shift, place + shift + 1) if 0 <= i < len(keys)}
            found[letter] = beside
    return {letter: "".join(sorted(beside)) for letter, beside in found.items()}


NEIGHBOURS = _neighbours()


def swapped(word: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters that differ change places; a word without such two stays."""
    places = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    if not places:
        return word
    at = places[int(rng.integers(len(places)))]
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def mistyped(word: str, rng: np.random.Generator) -> str:
    """One letter becomes one beside it on the keyboard, in its case; letters that are not on it stay."""
    places = [i for i, letter in enumerate(word) if letter.lower() in NEIGHBOURS]
    if not places:
        return word
    at = places[int(rng.integers(len(places)))]
    beside = NEIGHBOURS[word[at].lower()]
    key = beside[int(rng.integers(len(beside)))]
    return word[:at] + (key.upper() if word[at].isupper() else key) + word[at + 1 :]


def with_typos(text: str, rng: np.random.Generator, *, rate: float, kinds: tuple[Draw, ...]) -> str:
    """Each word of two letters or more gets a typo, of one of the kinds, with the probability `rate`."""
    words = list(LETTERS.finditer(text))
    chosen = np.flatnonzero(rng.random(len(words)) < rate).tolist()
    parts, end = [], 0
    for place in chosen:
        word = words[place]
        kind = kinds[int(rng.integers(len(kinds)))] if len(kinds) > 1 else kinds[0]
        parts += [text[end : word.start()], kind(word[0], rng)]
        end = word.end()
    return "".join([*parts, text[end:]])


def without_words(text: str, rng: np.random.Generator, *, rate: float) -> str:
    """Each word between blanks is left out with the probability `rate`; one stays at least (Iyyer et al. 2015)."""
    words = text.split()
    stays = rng.random(len(words)) >= rate
    if not len(words) or stays.all():
        return text
    if not stays.any():
        stays[int(rng.integers(len(words)))] = True
    return " ".join(word for word, is_kept in zip(words, stays.tolist(), strict=True) if is_kept)


def end_changed(text: str) -> str:
    """Without the punctuation at its end; a text that has none gets a full stop."""
    bare = text.rstrip(PUNCTUATION)
    if not bare:
        return text
    return bare if len(bare) < len(text.rstrip()) else f"{bare}."


def lower(text: str) -> str:
    return _letter_by_letter(text, str.lower)


def upper(text: str) -> str:
    """Letters whose capital is more than one character, as ß has it, stay."""
    return _letter_by_letter(text, str.upper)


def title(text: str) -> str:
    """Every word with one capital in front."""
    return re.sub(r"[^\W\d_]+(?:['’][^\W\d_]+)*", lambda word: upper(word[0][0]) + lower(word[0][1:]), text)


def _letter_by_letter(text: str, turn: Callable[[str], str]) -> str:
    turned = turn(text)
    if len(turned) == len(text):
        return turned
    return "".join(other if len(other := turn(letter)) == 1 else letter for letter in text)


def _fixed(change: Callable[[str], str]) -> Draw:
    return lambda text, rng: change(text)


def typos(rate: float) -> TextChange:
    """Of both kinds, each as often as the other: what training adds."""
    apply = partial(with_typos, rate=rate, kinds=(swapped, mistyped))
    return TextChange("typos", f"a typo in {rate:.0%} of the words", True, apply)


def word_dropout(rate: float) -> TextChange:
    return TextChange("dropped words", f"{rate:.0%} of the words left out", False, partial(without_words, rate=rate))


def changes(typo_rate: float, drop_rate: float) -> tuple[TextChange, ...]:
    """All of them, as a test of robustness makes them. Rates: shares of the words."""
    share = f"in {typo_rate:.0%} of the words"
    swap, mistype = (partial(with_typos, rate=typo_rate, kinds=(kind,)) for kind in (swapped, mistyped))
    return (
        TextChange("swapped letters", f"two neighbouring letters change places {share}", True, swap),
        TextChange("mistyped letters", f"a letter becomes one beside it on the keyboard {share}", True, mistype),
        TextChange("lower case", "all letters small", True, _fixed(lower), is_case=True),
        TextChange("upper case", "all letters capitals", True, _fixed(upper), is_case=True),
        TextChange("title case", "every word with a capital in front", True, _fixed(title), is_case=True),
        TextChange("punctuation", "none at the end, or a full stop where there was none", False, _fixed(end_changed)),
        word_dropout(drop_rate),
    )
