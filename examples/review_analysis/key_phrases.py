"""What is an item's key phrases: phrases of its reviews that are near to all of them together and unlike each other.

python examples/review_analysis/key_phrases.py runs/reviews/reviews.jsonl "bakery 1" --encoder MODEL
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reviews import Vectors, of_item, read_reviews, unit

import bertsmith
from bertsmith.errors import BertsmithError, DataError
from bertsmith.inference.predictor import Predictor

LONGEST = 3
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_BREAK = re.compile(r"[.,;:!?()\"\n]|<[^<>]*>")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LINKS = _words("a an the of and or to for in on at with by from my our your his her its their")
"""Stand within a phrase and not at its ends."""
NEVER = _words(
    "i me we us you he him she it they them who what which this that these those there here myself "
    "am is are was were be been being do does did doing have has had having can could will would shall should may "
    "might must say said says get got go went not no nor never than then as if so but because until while although "
    "too very just only also once again more most much many some any all both each other another one two lot quite "
    "about after before into off out over up down when where why how don't didn't isn't wasn't it's i'm"
)
"""End a phrase: the words that sentences hang together by, which say nothing of what a text is about."""


@dataclass(frozen=True)
class KeyPhrase:
    """closeness: the cosine of the phrase and the text. num_texts: how many of the texts have it."""

    phrase: str
    closeness: float
    num_texts: int


def candidates(texts: Sequence[str], min_fraction: float = 0.0) -> Counter[str]:
    """Runs of one to three words, within a clause, that so large a part of the texts has; and how many have them.

    >>> sorted(candidates(["They have a wall of clocks, and it is loud."]))
    ['clocks', 'loud', 'wall', 'wall of clocks']
    """
    counts = Counter(phrase for text in texts for phrase in _phrases(text.lower().replace("’", "'")))
    return Counter({phrase: count for phrase, count in counts.items() if count >= min_fraction * len(texts)})


def _phrases(text: str) -> set[str]:
    found = set()
    for clause in _BREAK.split(text):
        words = _WORD.findall(clause)
        for start, word in enumerate(words):
            if word in LINKS | NEVER:
                continue
            for end in range(start, min(start + LONGEST, len(words))):
                if words[end] in NEVER:
                    break
                if words[end] not in LINKS:
                    found.add(" ".join(words[start : end + 1]))
    return found


def diverse(closeness: Vectors, vectors: Vectors, num: int, diversity: float) -> list[int]:
    """Places of `num` of the candidates by maximal marginal relevance (Carbonell and Goldstein 1998).

    closeness: [c], to the text; vectors: [c, H] of length 1. Each next one has the most closeness, weighed by
    1 - diversity, after its greatest cosine with those already taken, weighed by diversity.
    """
    taken: list[int] = []
    alike = np.zeros(len(closeness), dtype=np.float32)
    left = np.ones(len(closeness), dtype=bool)
    while len(taken) < min(num, len(closeness)):
        gain = np.where(left, (1 - diversity) * closeness - diversity * alike, -np.inf)
        best = int(gain.argmax())
        taken.append(best)
        left[best] = False
        cosines = vectors @ vectors[best]
        alike = cosines if len(taken) == 1 else np.maximum(alike, cosines)
    return taken


def key_phrases(
    encoder: Predictor, texts: Sequence[str], *, num: int = 5, diversity: float = 0.5, min_fraction: float = 0.1
) -> list[KeyPhrase]:
    """The key phrases of texts that belong together, best first: those of an item's reviews, or of one review."""
    counts = candidates(texts, min_fraction)
    if not counts:
        raise DataError(f"no phrase stands in {min_fraction:.0%} of the {len(texts)} texts; lower min_fraction")
    phrases = sorted(counts)
    vectors = unit(encoder.embed(phrases))
    closeness = vectors @ unit(unit(encoder.embed(texts)).mean(axis=0))
    chosen = diverse(closeness, vectors, num, diversity)
    return [KeyPhrase(phrases[i], float(closeness[i]), counts[phrases[i]]) for i in chosen]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reviews", type=Path, help="table of reviews")
    parser.add_argument("item", help="whose key phrases")
    parser.add_argument("--encoder", type=Path, required=True, help="model that makes vectors")
    parser.add_argument("--num", type=int, default=5)
    parser.add_argument("--diversity", type=float, default=0.5, help="0: only closeness counts; 1: only difference")
    parser.add_argument("--min-fraction", type=float, default=0.1, help="share of the reviews that must have a phrase")
    asked = parser.parse_args(arguments)
    texts = [review.text for review in of_item(read_reviews(asked.reviews), asked.item)]
    encoder = bertsmith.load(asked.encoder)
    for found in key_phrases(encoder, texts, num=asked.num, diversity=asked.diversity, min_fraction=asked.min_fraction):
        print(f"{found.closeness:5.2f}  in {found.num_texts:3d} of {len(texts)}  {found.phrase}")


if __name__ == "__main__":
    try:
        main()
    except BertsmithError as error:
        raise SystemExit(f"error: {error}") from None
