"""BERT's tokenizer in plain Python, from its description: basic tokenization, then greedy longest-match WordPiece.

Written for comparison, not for speed. Lower-casing goes character by character: Python's `str.lower` turns a sigma at
the end of a word into its final form, which the Rust core does not.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class ReferenceTokenizer:
    def __init__(self, vocab: Sequence[str], lowercase: bool, strip_accents: bool | None = None) -> None:
        self.ids = {token: number for number, token in enumerate(vocab)}
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents

    def encode(self, text: str) -> list[int]:
        """Ids without `[CLS]` and `[SEP]` around them."""
        tokens: list[str] = []
        for part in re.split("(" + "|".join(map(re.escape, SPECIAL)) + ")", text):
            if part in SPECIAL:
                tokens.append(part)
            else:
                tokens += [piece for word in self.words(part) for piece in self.pieces(word)]
        return [self.ids[token] for token in tokens]

    def words(self, text: str) -> list[str]:
        text = "".join(map(cleaned, text))
        if self.strip_accents:
            decomposed = unicodedata.normalize("NFD", text)
            text = "".join(character for character in decomposed if unicodedata.category(character) != "Mn")
        if self.lowercase:
            text = "".join(character.lower() for character in text)
        spaced = "".join(f" {character} " if is_punctuation(character) else character for character in text)
        return [word for word in spaced.split(" ") if word]

    def pieces(self, word: str) -> list[str]:
        if len(word) > 100:
            return ["[UNK]"]
        found: list[str] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                if prefix + word[start:end] in self.ids:
                    found.append(prefix + word[start:end])
                    start = end
                    break
            else:
                return ["[UNK]"]
        return found


@functools.cache
def cleaned(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
        return " "
    if character == "\ufffd" or category.startswith("C"):
        return ""
    if any(low <= ord(character) <= high for low, high in IDEOGRAPHS):
        return f" {character} "
    return character


@functools.cache
def is_punctuation(character: str) -> bool:
    return character in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" or unicodedata.category(character).startswith("P")
