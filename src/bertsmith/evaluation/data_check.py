"""What in a file of examples makes its figures less than they seem: repeats, contradictions, rows trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertsmith.data.split import leaked, normalized
from bertsmith.runtime.progress import shorten
from bertsmith.tasks import Example, Task

CONFLICTS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Conflict:
    """Texts that occur with several answers, and these."""

    texts: tuple[str, ...]
    answers: tuple[str, ...]
    where: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataCheck:
    """Texts are equal up to case, white space and Unicode form.

    num_repeats: rows with the texts of an earlier row. num_conflicting: rows whose texts occur with another answer too;
    `conflicts` are some of them. num_trained_on: rows that share with training what a split keeps together (all texts;
    of questions about a text, that text; of rankings, the query); None: not known.
    """

    num_examples: int
    num_repeats: int
    num_conflicting: int
    conflicts: tuple[Conflict, ...]
    num_trained_on: int | None

    def warnings(self) -> list[str]:
        """What a reader should hold against the figures, a sentence each."""
        found = (
            (self.num_repeats, "repeat the texts of another row: the intervals are too narrow by that"),
            (self.num_conflicting, "have texts that occur with another answer too: no model can get all of them right"),
            (self.num_trained_on or 0, "have texts that the model was trained on: the figures are too good by that"),
        )
        return [f"{count:,} of {self.num_examples:,} examples {what}" for count, what in found if count]


def check_data(
    task: Task[Any, Any], examples: Sequence[Example[Any]], train: Sequence[Example[Any]] | None
) -> DataCheck:
    """Compare the examples with one another, and with those of training where they are known."""
    rows: defaultdict[str, list[Example[Any]]] = defaultdict(list)
    for example in examples:
        rows[_key(task, example)].append(example)
    conflicting = [same for same in rows.values() if len({repr(example.answer) for example in same}) > 1]
    seen = None if train is None else leaked(*(map(task.split_key, _requests(rows)) for rows in (train, examples)))
    return DataCheck(
        len(examples),
        len(examples) - len(rows),
        sum(map(len, conflicting)),
        tuple(_conflict(task, same) for same in conflicting[:CONFLICTS_SHOWN]),
        seen,
    )


def _requests(examples: Sequence[Example[Any]]) -> list[Any]:
    return [example.request for example in examples]


def _key(task: Task[Any, Any], example: Example[Any]) -> str:
    return normalized("\0".join(task.texts(example.request)))


def _conflict(task: Task[Any, Any], same: Sequence[Example[Any]]) -> Conflict:
    texts = tuple(shorten(text, 200) for text in task.texts(same[0].request)[:4])
    answers = tuple(dict.fromkeys(shorten(str(example.answer)) for example in same))
    return Conflict(texts, answers, tuple(example.where for example in same[:4]))
