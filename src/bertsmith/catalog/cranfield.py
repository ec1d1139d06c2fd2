"""Cranfield (Cleverdon 1967): questions of aerodynamics and abstracts with judged relevance, as a task of reranking."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bertsmith.baselines import words_of
from bertsmith.catalog.dataset import DataSet, Files
from bertsmith.data.lines import Reading, read_lines
from bertsmith.data.readers import Row
from bertsmith.errors import DataError

NUM_OTHERS = 30
QUERIES, ABSTRACTS, JUDGEMENTS = "cran.qry", "cran.all.1400", "cranqrel"
_TEST_EVERY = 3
_OWN_SOURCE = -1  # the paper that a question was written from, judged apart from the grades 1 (best) to 4
_MOST_RELEVANT = 5


def _share(*, test: bool) -> Callable[[Path, Reading], Iterator[Row]]:
    """A reader of the queries of one side; the other two files lie beside theirs.

    The passages of a query are those judged and the 30 others that share the rarest words with it, in the order of
    their numbers.
    """

    def read(path: Path, reading: Reading) -> Iterator[Row]:
        abstracts = {number: text for number, text in read_texts(_beside(path, ABSTRACTS), reading) if text}
        words = {number: set(words_of(text)) for number, text in abstracts.items()}
        holding = Counter(word for own in words.values() for word in own)
        grades = read_grades(_beside(path, JUDGEMENTS), reading)
        # Judgements know a query by its place in the file, whatever the number that it carries there.
        for place, (_, query) in enumerate(read_texts(path, reading), start=1):
            if (place % _TEST_EVERY == 0) != test:
                continue
            judged = {number: grade for number, grade in grades.get(place, {}).items() if number in abstracts}
            asked = set(words_of(query))
            weights = {
                number: sum(math.log(len(abstracts) / holding[word]) for word in asked & own)
                for number, own in words.items()
                if number not in judged
            }
            others = sorted(weights, key=lambda number: (-weights[number], number))
            chosen = sorted([*judged, *others[:NUM_OTHERS]])
            values = {
                "query": query,
                "passages": [abstracts[number] for number in chosen],
                "labels": [judged.get(number, 0) for number in chosen],
            }
            yield Row(values, path, place)

    return read


def read_texts(path: Path, reading: Reading) -> Iterator[tuple[int, str]]:
    """Number and text of each record: what follows `.W` after `.I number`."""
    number, lines, in_text = 0, list[str](), False
    for line in read_lines(path, reading):
        if line.text.startswith(".I "):
            if number:
                yield number, " ".join(" ".join(lines).split())
            number, lines, in_text = _whole(line.text[3:], f"{path}, line {line.number}"), [], False
        elif line.text.strip() == ".W":
            in_text = True
        elif in_text:
            lines.append(line.text)
    if not number:
        raise DataError(f"{path}: expected records that begin with .I and a number, as Cranfield has them, found none")
    yield number, " ".join(" ".join(lines).split())


def read_grades(path: Path, reading: Reading) -> dict[int, dict[int, int]]:
    """Relevance from 1 to 5 of abstracts, by query and abstract; those that are absent count as 0."""
    grades: dict[int, dict[int, int]] = {}
    for line in read_lines(path, reading):
        where, cells = f"{path}, line {line.number}", line.text.split()
        if not cells:
            continue
        if len(cells) != 3:
            raise DataError(f"{where}: expected a query, an abstract and a grade, found {line.text!r:.60}")
        query, abstract, grade = (_whole(cell, where) for cell in cells)
        grades.setdefault(query, {})[abstract] = _MOST_RELEVANT - (0 if grade == _OWN_SOURCE else grade)
    return grades


def _whole(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{where}: expected a whole number, found {text!r:.40}") from None


def _beside(path: Path, name: str) -> Path:
    """The file `name` in the folder of the queries, packed as they are."""
    return path.with_name(path.name.replace(QUERIES, name))


CRANFIELD = DataSet(
    name="cranfield",
    title="Cranfield: which abstracts answer a question of aerodynamics?",
    task="reranking",
    metric="ndcg@10",
    licence="none stated; a public test collection",
    source="https://ir.dcs.gla.ac.uk/resources/test_collections/cran/",
    splits={
        split: Files((f"retrieval/cranfield/{QUERIES}",), _share(test=split == "test")) for split in ("train", "test")
    },
    task_settings={"max_length": 384},
    notes=(
        "every third query is a test query",
        f"passages: those judged and the {NUM_OTHERS} others that share the rarest words with the query",
        "results are not those of a search through all 1,400 abstracts",
        "abstracts without text are left out",
    ),
)
