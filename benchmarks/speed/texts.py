"""The texts of the speed comparisons: English prose cut to lengths as live traffic has them, or all to one length."""

from __future__ import annotations

import random
from pathlib import Path

from bertsmith.files import open_bytes

SHORTEST, LONGEST = 3, 300


def prose(data_dir: Path) -> list[str]:
    """All words of WikiText-2's validation text, in order."""
    with open_bytes(data_dir / "text/wikitext-2/valid.txt.xz") as file:
        return file.read().decode().split()


def mixed(words: list[str], count: int, seed: int = 0) -> list[str]:
    """Lengths log-normal, median 27 words, from 3 to 300, in random order."""
    rng = random.Random(seed)
    return [_cut(words, int(min(LONGEST, max(SHORTEST, rng.lognormvariate(3.3, 0.8)))), rng) for _ in range(count)]


def equal(words: list[str], count: int, length: int, seed: int = 0) -> list[str]:
    """`length` words each: where padding costs nothing."""
    rng = random.Random(seed)
    return [_cut(words, length, rng) for _ in range(count)]


def _cut(words: list[str], length: int, rng: random.Random) -> str:
    start = rng.randrange(len(words) - length)
    return " ".join(words[start : start + length])
