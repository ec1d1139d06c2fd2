"""A word-to-word dictionary drawn from parallel text with a multilingual encoder, as a function.

Within each pair of texts the words whose vectors in context are nearest to each other, both ways, are linked (Jalili
Sabet et al. 2020); the links are counted over all pairs. A word's translation is the one that it is linked to most
closely by Dice's coefficient of those counts, where that holds both ways.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.data.parallel import Translations, read_translations
from bertsmith.errors import DataError
from bertsmith.files import atomic_file
from bertsmith.inference.predictor import Predictor, load
from bertsmith.inference.word_vectors import TextWords, middle_layer, word_vectors
from bertsmith.metrics.similarity import mutual_nearest
from bertsmith.recipes.prediction_files import JSON_LINES, SEPARATORS, format_of, json_lines, table_lines
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings

BLOCK_PAIRS = 2048
MOST_UNKNOWN = 0.5
"""Share of a side's words that the vocabulary may not know: above it the language is not one of the model's."""


class LexiconSettings(Settings):
    """What `bertsmith lexicon` needs to know."""

    files: tuple[Path, ...] = Field(
        min_length=1, description="two files of parallel lines, or one table with a text and its translation in a row"
    )
    model: Path = Field(description="multilingual model: pre-trained, fine-tuned, or any folder with an encoder")
    columns: tuple[str, ...] = Field((), description="the two columns of a table; None: its first two")
    output_file: Path | None = Field(
        None, description="the dictionary as .tsv, .csv or .jsonl; None: only its head is shown"
    )
    layer: int | None = Field(None, ge=0, description="whose vectors are compared; None: two thirds of the way up")
    min_count: int = Field(3, ge=1, description="links that a pair of words needs")
    errors: ErrorPolicy = Field("error", description="on what is no clean UTF-8 text: error, replace or skip")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


@dataclass(frozen=True, slots=True)
class Entry:
    """score: Dice's coefficient of links and occurrences, at most 1. similarity: mean cosine of the linked words.

    count: links of the two; source_count, target_count: occurrences of each in all pairs.
    """

    source: str
    target: str
    score: float
    similarity: float
    count: int
    source_count: int
    target_count: int


@dataclass(frozen=True)
class Lexicon:
    """entries: most frequently linked first. num_cut_words: beyond the model's positions, not read."""

    entries: tuple[Entry, ...]
    num_pairs: int
    num_links: int
    num_source_words: int
    num_target_words: int
    num_cut_words: int
    layer: int
    notices: tuple[str, ...] = ()


@dataclass
class Links:
    """Counted over pairs of texts. similarities: sums of cosines. num_unknown: words outside of the vocabulary."""

    source: Counter[str] = field(default_factory=Counter)
    target: Counter[str] = field(default_factory=Counter)
    linked: Counter[tuple[str, str]] = field(default_factory=Counter)
    similarities: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    num_unknown: list[int] = field(default_factory=lambda: [0, 0])
    num_cut: int = 0

    def add(self, source: TextWords, target: TextWords) -> None:
        """One text and its translation; marks that are no words, and unknown ones, are linked to nothing."""
        kept = []
        for side, (words, counts) in enumerate(((source, self.source), (target, self.target))):
            places = [i for i, word in enumerate(words.words) if any(map(str.isalnum, word))]
            known = [i for i in places if words.is_known[i]]
            counts.update(words.words[i] for i in known)
            self.num_unknown[side] += len(places) - len(known)
            self.num_cut += words.num_cut
            kept.append(known)
        cosines = source.vectors[kept[0]] @ target.vectors[kept[1]].T
        for row, column in mutual_nearest(cosines):
            pair = source.words[kept[0][row]], target.words[kept[1][column]]
            self.linked[pair] += 1
            self.similarities[pair] += float(cosines[row, column])


def lexicon(settings: LexiconSettings | Mapping[str, Any], progress: Progress | None = None) -> Lexicon:
    """Draw the dictionary, and write it where that is asked for.

    Raises `DataError` for files that hold no translations, and for a language that the model does not know.
    """
    settings = settings if isinstance(settings, LexiconSettings) else LexiconSettings.of(settings)
    output = None if settings.output_file is None else format_of(settings.output_file)
    reading = Reading(settings.errors)
    pairs = list(read_translations(settings.files, settings.columns, reading))
    predictor = load(settings.model, device=settings.device)
    links = count_links(predictor, pairs, settings.layer, progress)
    _refuse_unknown(links, settings)
    found = Lexicon(
        tuple(entries_of(links, settings.min_count)),
        len(pairs),
        links.linked.total(),
        len(links.source),
        len(links.target),
        links.num_cut,
        middle_layer(predictor, settings.layer),
        tuple(reading.notices()),
    )
    if settings.output_file is not None and output is not None:
        _write(settings.output_file, output, [asdict(entry) for entry in found.entries])
    return found


def count_links(
    predictor: Predictor, pairs: Sequence[Translations], layer: int | None = None, progress: Progress | None = None
) -> Links:
    """The links of all pairs, whose first two texts are taken."""
    links = Links()
    with (progress or Progress()).phase("linking words", total=len(pairs), unit="pairs") as phase:
        for start in range(0, len(pairs), BLOCK_PAIRS):
            block = pairs[start : start + BLOCK_PAIRS]
            sides = [word_vectors(predictor, [pair.texts[side] for pair in block], layer) for side in (0, 1)]
            for source, target in zip(*sides, strict=True):
                links.add(source, target)
            phase.advance(len(block))
    return links


def entries_of(links: Links, min_count: int) -> list[Entry]:
    """Pairs linked at least `min_count` times of which each is the other's best by score; equal scores by strings."""
    entries = [
        Entry(
            *pair,
            score=2 * count / (links.source[pair[0]] + links.target[pair[1]]),
            similarity=links.similarities[pair] / count,
            count=count,
            source_count=links.source[pair[0]],
            target_count=links.target[pair[1]],
        )
        for pair, count in links.linked.items()
        if count >= min_count
    ]
    best = _best({entry: entry.source for entry in entries}), _best({entry: entry.target for entry in entries})
    mutual = [entry for entry in entries if best[0][entry.source] is entry and best[1][entry.target] is entry]
    return sorted(mutual, key=lambda entry: (-entry.count, entry.source))


def _best(words: Mapping[Entry, str]) -> dict[str, Entry]:
    """For each word the entry with the highest score."""
    best: dict[str, Entry] = {}
    for entry in sorted(words, key=lambda entry: (-entry.score, entry.source, entry.target)):
        best.setdefault(words[entry], entry)
    return best


def _refuse_unknown(links: Links, settings: LexiconSettings) -> None:
    for side, counts in enumerate((links.source, links.target)):
        total = links.num_unknown[side] + counts.total()
        if links.num_unknown[side] > MOST_UNKNOWN * total:
            names = settings.files if len(settings.files) == 2 else [f"{settings.files[0]}, text {n}" for n in (1, 2)]
            raise DataError(
                f"{names[side]}: {links.num_unknown[side] / total:.0%} of the words are not in the vocabulary of "
                f"{settings.model}: it was not made for this language; take a model whose text had it"
            )


def _write(path: Path, output: str, records: Iterable[Mapping[str, object]]) -> None:
    names = list(Entry.__dataclass_fields__)
    lines = json_lines(records) if output == JSON_LINES else table_lines(records, names, SEPARATORS[output])
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
