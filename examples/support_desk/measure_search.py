"""How often the document with the answer is found: by words, by meaning, and by both.

python examples/support_desk/measure_search.py runs/desk examples/support_desk/questions.csv
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from bertsmith.data.readers import read_table
from bertsmith.errors import BertsmithError, DataError
from bertsmith.evaluation.intervals import Interval, mean_interval
from bertsmith.search.searcher import Mode, Searcher, open_index

DEEPEST = 3


@dataclass(frozen=True)
class Asked:
    """A question, and the document that answers it."""

    question: str
    document: str


@dataclass(frozen=True)
class Found:
    """The share of questions whose document is that of the first passage, and of the first three."""

    first: Interval
    among_three: Interval


def read_questions(path: Path) -> list[Asked]:
    """Those of a table with `question` and `document` that have an answer in a document."""
    rows = [row.values for row in read_table(path)]
    asked = [Asked(str(row["question"]), str(row["document"])) for row in rows if row.get("document")]
    if not asked:
        raise DataError(f"{path}: no row with a question and the document that answers it")
    return asked


def measured(searcher: Searcher, asked: Sequence[Asked], mode: Mode) -> Found:
    """Of the passages found by `mode`, with 95% intervals from drawing questions again."""
    hits = searcher.search([one.question for one in asked], limit=DEEPEST, mode=mode)
    documents = [[hit.document for hit in found] for found in hits]
    return Found(
        mean_interval([one.document in found[:1] for one, found in zip(asked, documents, strict=True)]),
        mean_interval([one.document in found for one, found in zip(asked, documents, strict=True)]),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="folder of the index")
    parser.add_argument("questions", type=Path, help="table with question and document")
    given = parser.parse_args(arguments)
    searcher, asked = open_index(given.index), read_questions(given.questions)
    print(f"{len(asked)} questions\n| by | the first | among {DEEPEST} |\n| --- | --- | --- |")
    for mode in get_args(Mode):
        found = measured(searcher, asked, mode)
        print(f"| {mode} | {cell(found.first)} | {cell(found.among_three)} |")


def cell(figure: Interval) -> str:
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


if __name__ == "__main__":
    try:
        main()
    except BertsmithError as error:
        raise SystemExit(f"error: {error}") from None
