"""Files of CheckList-shaped tests as cases for a model; what of them it cannot be asked is left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError, SettingsError, nearest
from bertsmith.evaluation.checks import Case
from bertsmith.recipes.examples import drawn_of_each
from bertsmith.tasks.task import Example, Task

DIRECTION = "direction tests (DIR): the file does not say in which direction"
NO_INPUT = "cases without inputs"
NO_LABEL = "cases of an MFT without a label"
FOREIGN = "cases whose label the model does not have"
NOT_THERE = "cases whose answer is not in their text"


@dataclass(frozen=True)
class CheckReading:
    """How inputs become requests. fields: of a request in the order of an input's texts. names: labels, renamed.

    max_cases: of each test, chosen by `seed`.
    """

    fields: Sequence[str] = ()
    names: Mapping[str, str] | None = None
    max_cases: int | None = None
    seed: int = 0


def read_checks(
    task: Task[Any, Any], path: Path, how: CheckReading, reading: Reading | None = None
) -> tuple[list[Case], list[str]]:
    """The cases of a table with the columns `test`, `inputs` and, of an MFT, `label`; also `type` and `capability`.

    inputs: a text, a list of texts in the order of a request's fields, or a record of them; or a list of such, where
    the label is a list too or there is none. Raises `DataError` for other shapes, and where no case is left.
    """
    for name in how.fields:
        if name not in _request_fields(task):
            raise SettingsError(f"input_fields: {task.name} has no {name!r}; {nearest(name, _request_fields(task))}")
    rows = list(read_table(path, reading))
    if "inputs" not in rows[0].values:
        raise DataError(f"{path}: no column 'inputs'; expected 'test', 'inputs' and 'label' or 'type'")
    left_out: Counter[str] = Counter()
    cases = [case for row in rows if (case := _case(task, row, how, left_out)) is not None]
    notes = [f"left out: {num:,} {why}" for why, num in left_out.items()]
    if not cases:
        raise DataError(f"{path}: no case that this model can be asked; {'; '.join(notes)}")
    if how.max_cases is not None:
        cases = drawn_of_each(cases, lambda case: case.test, how.max_cases, how.seed)
    return cases, notes


def _case(task: Task[Any, Any], row: Row, how: CheckReading, left_out: Counter[str]) -> Case | None:
    values = row.values
    inputs, label = values.get("inputs"), values.get("label")
    kind = str(values.get("type") or ("INV" if label is None else "MFT")).upper()
    test, capability = str(values.get("test") or "all"), str(values.get("capability") or "")
    if kind not in ("MFT", "INV", "DIR"):
        raise DataError(f"{row.where}: a test of type {kind!r}; expected MFT, INV or DIR")
    why = DIRECTION if kind == "DIR" else NO_INPUT if inputs is None or inputs == [] else ""
    if kind == "MFT" and label is None:
        why = why or NO_LABEL
    if why:
        left_out[why] += 1
        return None
    is_group = kind == "INV" or isinstance(label, list)
    if is_group and not isinstance(inputs, list):
        raise DataError(f"{row.where}: expected a list of inputs, found {inputs!r:.80}")
    parts = list(inputs) if is_group and isinstance(inputs, list) else [inputs]
    records = [_record(task, part, how, row.where) for part in parts]
    if kind == "INV":
        if len(records) < 2:
            raise DataError(f"{row.where}: an invariance test needs two inputs or more")
        return Case(test, "INV", capability, tuple(task.request(record, row.where) for record in records), row.where)
    labels = label if isinstance(label, list) else [label]
    if len(labels) != len(records):
        raise DataError(f"{row.where}: {len(records)} inputs but {len(labels)} labels")
    examples = []
    for record, one in zip(records, labels, strict=True):
        example = _example(task, record, one, how, row.where)
        if isinstance(example, str):
            left_out[example] += 1
            return None
        examples.append(example)
    return Case(test, "MFT", capability, tuple(examples), row.where)


def _record(task: Task[Any, Any], given: Any, how: CheckReading, where: str) -> dict[str, Any]:
    names = how.fields or _request_fields(task)
    if isinstance(given, Mapping):
        return dict(given)
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or len(texts) > len(names):
        raise DataError(f"{where}: expected a text, or texts for {', '.join(names)}, found {given!r:.80}")
    return dict(zip(names, texts, strict=False))


def _request_fields(task: Task[Any, Any]) -> list[str]:
    return [field.name for field in fields(task.Request)]


def _example(
    task: Task[Any, Any], record: Mapping[str, Any], label: Any, how: CheckReading, where: str
) -> Example[Any] | str:
    """Or why the model cannot be asked it."""
    if isinstance(label, float) and label.is_integer():  # a table of numbers with gaps has 2.0 for 2
        label = int(label)
    if how.names is not None and isinstance(label, str | int):
        label = how.names.get(str(label))
    labels = task.labels()
    if labels is not None and isinstance(label, str | int | float | None) and str(label) not in labels:
        return FOREIGN
    try:
        return task.example({**record, task.answer_field: label}, where)
    except DataError as error:
        if "not in its context" not in str(error):
            raise
        return NOT_THERE
