"""What is good and what is bad, aspect by aspect, with the sentences that say so. Two ways, by what you have:

    taught: a model that was trained on sentences with labels as "service: good"
    python examples/review_analysis/aspects.py runs/reviews/reviews.jsonl "bakery 1" --taught runs/aspects

    by name: no labels but names of aspects; vectors find the aspect, a model of sentiment what is said of it
    python examples/review_analysis/aspects.py runs/reviews/reviews.jsonl "bakery 1" \\
        --aspects "food=food and dishes" service price noise --encoder MODEL --sentiment runs/sentiment
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from reviews import of_item, read_reviews, unit

import bertsmith
from bertsmith.data.readers import read_table
from bertsmith.errors import BertsmithError, DataError, SettingsError
from bertsmith.inference.predictor import Predictor

_CLAUSE = re.compile(r"[,;:]\s+|\s+(?:but|although|though|while|yet)\s+", re.IGNORECASE)
SENTIMENTS = {"good": ("good", "positive", "pos", "1"), "bad": ("bad", "negative", "neg", "0")}
"""What models of sentiment call the two."""


@dataclass(frozen=True)
class Opinion:
    """good: or bad. score: the probability of it being so. text: the words that it was read from."""

    aspect: str
    good: bool
    score: float
    text: str

    @property
    def label(self) -> str:
        return f"{self.aspect}: {'good' if self.good else 'bad'}"


class Reader(Protocol):
    def read(self, sentences: Sequence[str]) -> list[list[Opinion]]:
        """The opinions in each sentence, maybe none."""


class Taught:
    """A multi-label classifier whose labels are an aspect and good or bad."""

    def __init__(self, model: Predictor):
        self.model = model
        self.meaning = {label: _aspect_and_good(label) for label in model.task.labels() or ("",)}

    def read(self, sentences: Sequence[str]) -> list[list[Opinion]]:
        return [
            [Opinion(*self.meaning[label], said.scores[label], text) for label in said.labels]
            for text, said in zip(sentences, self.model.predict(sentences), strict=True)
        ]


def _aspect_and_good(label: str) -> tuple[str, bool]:
    aspect, _, sentiment = label.rpartition(": ")
    if not aspect or sentiment not in ("good", "bad"):
        raise SettingsError(f"the model's label {label!r} is no aspect with good or bad, as 'service: good'")
    return aspect, sentiment == "good"


class ByName:
    """An aspect is what a clause is nearest to, by cosine, if near enough; good or bad is what the clause sounds like.

    aspects: by name, the words that clauses are compared with; several words that describe it do better than its name.
    closest: the least cosine. surest: the least probability of good or of bad, below which a clause says neither.
    """

    def __init__(
        self,
        encoder: Predictor,
        sentiment: Predictor,
        aspects: Mapping[str, str],
        closest: float = 0.2,
        surest: float = 0.7,
    ):
        self.encoder, self.sentiment, self.aspects = encoder, sentiment, tuple(aspects)
        self.closest, self.surest = closest, surest
        self.described = unit(encoder.embed(list(aspects.values())))
        labels = sentiment.task.labels() or ()
        self.good, self.bad = (_named(labels, SENTIMENTS[side]) for side in ("good", "bad"))

    def read(self, sentences: Sequence[str]) -> list[list[Opinion]]:
        clauses = [(i, clause) for i, text in enumerate(sentences) for clause in _CLAUSE.split(text) if clause.strip()]
        texts = [clause for _, clause in clauses]
        found: list[list[Opinion]] = [[] for _ in sentences]
        if not texts:
            return found
        cosines = unit(self.encoder.embed(texts)) @ self.described.T
        for (i, text), row, said in zip(clauses, cosines, self.sentiment.predict(texts), strict=True):
            good = said.scores[self.good] >= said.scores[self.bad]
            score = said.scores[self.good if good else self.bad]
            if row.max() >= self.closest and score >= self.surest:
                found[i].append(Opinion(self.aspects[int(row.argmax())], good, score, text))
        return found


def _named(labels: Sequence[str], names: Sequence[str]) -> str:
    for label in labels:
        if label.lower() in names:
            return label
    raise SettingsError(f"the model of sentiment has the labels {', '.join(labels) or 'none'}; none is {names[0]!r}")


@dataclass(frozen=True)
class Summary:
    """How often an aspect was good and bad, and of each side the opinion that is surest."""

    aspect: str
    num_good: int
    num_bad: int
    best: Opinion | None
    worst: Opinion | None


def summaries(opinions: Sequence[Opinion]) -> list[Summary]:
    """One for each aspect, the most spoken of first."""
    counts = Counter(opinion.aspect for opinion in opinions)
    return [_summary(aspect, [o for o in opinions if o.aspect == aspect]) for aspect, _ in counts.most_common()]


def _summary(aspect: str, opinions: Sequence[Opinion]) -> Summary:
    good, bad = ([o for o in opinions if o.good == side] for side in (True, False))
    surest = [max(side, key=lambda opinion: opinion.score, default=None) for side in (good, bad)]
    return Summary(aspect, len(good), len(bad), *surest)


@dataclass(frozen=True)
class Agreement:
    """With known labels. f1: of all labels together; one, two: of sentences that judge so many aspects."""

    f1: float
    one: float
    two: float
    num_sentences: int


def agreement(reader: Reader, rows: Sequence[tuple[str, set[str]]]) -> Agreement:
    """Of what `reader` finds in sentences whose labels are known."""
    read = reader.read([text for text, _ in rows])
    pairs = [({o.label for o in found}, known) for found, (_, known) in zip(read, rows, strict=True)]
    return Agreement(
        f1(pairs),
        f1([pair for pair in pairs if len(pair[1]) == 1]),
        f1([pair for pair in pairs if len(pair[1]) == 2]),
        len(pairs),
    )


def f1(pairs: Sequence[tuple[set[str], set[str]]]) -> float:
    """Of all labels together; pairs: what is found and what is known."""
    both, either = sum(len(a & b) for a, b in pairs), sum(len(a) + len(b) for a, b in pairs)
    return 2 * both / max(1, either)


def read_labelled(path: Path) -> list[tuple[str, set[str]]]:
    """Sentences and their labels from a table with `text` and `labels`."""
    rows = list(read_table(path))
    for row in rows:
        if not isinstance(row.values.get("labels"), list) or not isinstance(row.values.get("text"), str):
            raise DataError(f"{row.where}: expected a text and a list of labels")
    return [(row.values["text"], set(row.values["labels"])) for row in rows]


def reader_of(asked: argparse.Namespace) -> Reader:
    """As the command line says."""
    if asked.taught is not None:
        return Taught(bertsmith.load(asked.taught))
    if not (asked.aspects and asked.encoder and asked.sentiment):
        raise SettingsError("give --taught, or --aspects with --encoder and --sentiment")
    described = {name: words or name for name, _, words in (text.partition("=") for text in asked.aspects)}
    return ByName(bertsmith.load(asked.encoder), bertsmith.load(asked.sentiment), described)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="table of reviews; with no item, of sentences with their labels")
    parser.add_argument("item", nargs="?", help="of which reviews; without it, what is found is compared with labels")
    parser.add_argument("--taught", type=Path, help="multi-label model, labels as 'service: good'")
    parser.add_argument("--aspects", nargs="+", help="names, each with = and words for it if you like")
    parser.add_argument("--encoder", type=Path, help="model that makes vectors")
    parser.add_argument("--sentiment", type=Path, help="model with a label for good and one for bad")
    asked = parser.parse_args(arguments)
    reader = reader_of(asked)
    if asked.item is None:
        say_agreement(agreement(reader, read_labelled(asked.file)))
        return
    sentences = [text for review in of_item(read_reviews(asked.file), asked.item) for text in review.sentences()]
    for summary in summaries([opinion for found in reader.read(sentences) for opinion in found]):
        say(summary)


def say_agreement(found: Agreement) -> None:
    print(f"F1 {found.f1:.3f}; of one aspect {found.one:.3f}, of two {found.two:.3f}; {found.num_sentences} sentences")


def say(summary: Summary) -> None:
    print(f"{summary.aspect}: {summary.num_good} good, {summary.num_bad} bad")
    for sign, opinion in (("+", summary.best), ("-", summary.worst)):
        if opinion is not None:
            print(f"  {sign} {opinion.text} ({opinion.score:.2f})")


if __name__ == "__main__":
    try:
        main()
    except BertsmithError as error:
        raise SystemExit(f"error: {error}") from None
