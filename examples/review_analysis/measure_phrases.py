"""Are key phrases any good? Beside the most frequent phrases, and those that TF-IDF picks among the same candidates.

    python examples/review_analysis/measure_phrases.py runs/reviews/reviews.jsonl \\
        --truth runs/reviews/truth.json --encoder MODEL

Known phrases: the share of what each restaurant is known for (three dishes and a peculiarity, planted in its reviews)
that is among its five phrases. Found again: the reciprocal rank of the text among all texts, by the cosine of its
vector and that of its phrases; without `--truth` this alone, each row's text by itself. It is the encoder's own
judgement, so it leans towards phrases that the encoder chose.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from key_phrases import candidates, key_phrases
from reviews import Vectors, read_reviews, unit

import bertsmith
from bertsmith.data.readers import read_table
from bertsmith.errors import BertsmithError
from bertsmith.evaluation.intervals import Interval, mean_interval
from bertsmith.files import read_json
from bertsmith.inference.predictor import Predictor

NUM = 5
Texts = Mapping[str, Sequence[str]]
Phrases = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Quality:
    """Means over the texts, with 95% intervals. known: None where nothing is known."""

    known: Interval | None
    found_again: Interval


def measured(encoder: Predictor, texts: Texts, known: Mapping[str, set[str]] | None) -> dict[str, Quality]:
    """By the name of each way to choose phrases, how good they are. texts, known: by the name of what they tell of."""
    counts = {name: candidates(rows, 0.1) for name, rows in texts.items()}
    chosen: dict[str, Phrases] = {
        "most frequent": {name: _top(found, float) for name, found in counts.items()},
        "TF-IDF": _by_tfidf(counts),
        "vectors, diversity 0": _by_vectors(encoder, texts, 0.0),
        "vectors, diversity 0.5": _by_vectors(encoder, texts, 0.5),
    }
    vectors = unit(np.stack([unit(encoder.embed(rows)).mean(axis=0) for rows in texts.values()]))
    return {
        way: Quality(
            None if known is None else mean_interval([len(known[n] & {*found[n]}) / len(known[n]) for n in texts]),
            mean_interval(_found_again(encoder, [", ".join(found[name]) for name in texts], vectors)),
        )
        for way, found in chosen.items()
    }


def _top(counts: Counter[str], weight: Callable[[float], float]) -> list[str]:
    return sorted(counts, key=lambda phrase: (-weight(counts[phrase]), phrase))[:NUM]


def _by_tfidf(counts: Mapping[str, Counter[str]]) -> Phrases:
    have = Counter(phrase for found in counts.values() for phrase in found)
    return {
        name: sorted(found, key=lambda phrase: (-found[phrase] * math.log(len(counts) / have[phrase]), phrase))[:NUM]
        for name, found in counts.items()
    }


def _by_vectors(encoder: Predictor, texts: Texts, diversity: float) -> Phrases:
    return {
        name: [found.phrase for found in key_phrases(encoder, rows, num=NUM, diversity=diversity)]
        for name, rows in texts.items()
    }


def _found_again(encoder: Predictor, phrases: Sequence[str], vectors: Vectors) -> list[float]:
    """1 / the rank of each text for its own phrases."""
    cosines = unit(encoder.embed(phrases)) @ vectors.T
    ranks = (cosines >= np.diag(cosines)[:, None]).sum(axis=1)
    return [1 / int(rank) for rank in ranks]


def planted(truth: Path) -> dict[str, set[str]]:
    """By restaurant, the phrases that its reviews were made to have."""
    return {
        place["name"]: {text.split(" ", 1)[1] if text.startswith(("a ", "an ", "the ")) else text for text in said}
        for place in read_json(truth)["restaurants"]
        for said in [(*place["dishes"], place["peculiarity"])]
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="table of reviews; without --truth, of anything with a column text")
    parser.add_argument("--truth", type=Path, help="truth.json, as write_reviews.py writes it")
    parser.add_argument("--encoder", type=Path, required=True, help="model that makes vectors")
    parser.add_argument("--rows", type=int, default=200, help="without --truth: how many rows")
    asked = parser.parse_args(arguments)
    texts: dict[str, list[str]] = defaultdict(list)
    if asked.truth is None:
        for row, _ in zip(read_table(asked.file), range(asked.rows), strict=False):
            texts[row.where].append(str(row.values["text"]))
    else:
        for review in read_reviews(asked.file):
            texts[review.item].append(review.text)
    print("| way | known phrases | found again |\n| --- | --- | --- |")
    known = None if asked.truth is None else planted(asked.truth)
    for way, quality in measured(bertsmith.load(asked.encoder), texts, known).items():
        print(f"| {way} | {cell(quality.known)} | {cell(quality.found_again)} |")


def cell(figure: Interval | None) -> str:
    return "" if figure is None else f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


if __name__ == "__main__":
    try:
        main()
    except BertsmithError as error:
        raise SystemExit(f"error: {error}") from None
