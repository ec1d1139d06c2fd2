"""ARC (Clark et al. 2018): questions of school science with several choices, easy and challenging ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertsmith.catalog.dataset import DataSet, Files, LeftOut, Values
from bertsmith.catalog.from_hub import Hub
from bertsmith.data.delimited import Layout
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError

_LAYOUT = Layout(("question", "A", "B", "C", "D", "answer"), delimiter=",", quoted=True)
_KEYS = (("A", "B", "C", "D", "E"), ("1", "2", "3", "4", "5"))


def _read(path: Path, reading: Reading) -> Iterator[Row]:
    return read_table(path, reading, _LAYOUT)


def _from_file(values: Values) -> Values:
    """Cells are empty beyond a question's choices; the table has no room for a fifth one."""
    choices = [values[name] for name in "ABCD"]
    return _values(values["question"], choices, _position(values["answer"]))


def _from_hub(values: Values) -> Values:
    choices, key = values["choices"], values["answerKey"]
    if key not in choices["label"]:
        raise DataError(f"the answer {key!r} is not among the choices {', '.join(choices['label'])}")
    return _values(values["question"], choices["text"], choices["label"].index(key))


def _values(question: str, choices: list[Any], answer: int) -> Values:
    if answer >= len(choices) or not choices[answer]:
        raise LeftOut("questions that lack the right choice")
    kept = [i for i, choice in enumerate(choices) if choice]
    return {"question": question, "choices": [choices[i] for i in kept], "label": kept.index(answer)}


def _position(answer: str) -> int:
    for keys in _KEYS:
        if answer.strip() in keys:
            return keys.index(answer.strip())
    raise DataError(f"the answer {answer!r} is none of {', '.join(_KEYS[0])}")


def _arc(name: str, title: str, prefix: str, config: str) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        task="multiple_choice",
        metric="accuracy",
        licence="CC BY-SA 4.0",
        source="https://allenai.org/data/arc",
        splits={
            "train": Files((f"multiple_choice/{prefix}_dev.csv",), _read, _from_file),
            "test": Files((f"multiple_choice/{prefix}_test.csv",), _read, _from_file),
        },
        task_settings={"max_length": 128},
        hub=Hub("allenai/ai2_arc", {"train": "train", "validation": "validation", "test": "test"}, _from_hub, config),
        notes=(
            "from a folder: the published training set, and the published dev set as the test split",
            "from a folder: questions whose right choice the tables lack are left out, and counted",
        ),
    )


ARC = (
    _arc("arc_easy", "ARC Easy: questions of school science", "arc_easy", "ARC-Easy"),
    _arc("arc_challenge", "ARC Challenge: the harder questions of school science", "arc_challenge", "ARC-Challenge"),
)
