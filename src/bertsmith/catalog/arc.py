"""ARC (Clark et al. 2018): questions of school science with several choices, easy and challenging ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bertsmith.catalog.dataset import DataSet, Files, LeftOut, Values, fields
from bertsmith.catalog.from_hub import Hub
from bertsmith.data.choices import choice_values
from bertsmith.data.delimited import Layout
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError

_COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answerKey")
_LAYOUT = Layout(_COLUMNS, delimiter=",", quoted=True)
_FIELDS = fields(question="question", choices="choices", label="label")


def _read(path: Path, reading: Reading) -> Iterator[Row]:
    return read_table(path, reading, _LAYOUT)


def _question(values: Values) -> Values:
    """The tables lost the choices of some questions, and have no room for a fifth one."""
    try:
        return _FIELDS(choice_values(values))
    except DataError:
        raise LeftOut("questions that lack the right choice") from None


def _arc(name: str, title: str, prefix: str, config: str) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        task="multiple_choice",
        metric="accuracy",
        licence="CC BY-SA 4.0",
        source="https://allenai.org/data/arc",
        splits={
            "train": Files((f"multiple_choice/{prefix}_dev.csv",), _read, _question),
            "test": Files((f"multiple_choice/{prefix}_test.csv",), _read, _question),
        },
        task_settings={"max_length": 128},
        hub=Hub("allenai/ai2_arc", {"train": "train", "validation": "validation", "test": "test"}, _question, config),
        notes=(
            "from a folder: the published training set, and the published dev set as the test split",
            "from a folder: questions whose right choice the tables lack are left out, and counted",
        ),
    )


ARC = (
    _arc("arc_easy", "ARC Easy: questions of school science", "arc_easy", "ARC-Easy"),
    _arc("arc_challenge", "ARC Challenge: the harder questions of school science", "arc_challenge", "ARC-Challenge"),
)
