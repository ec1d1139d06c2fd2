"""Options for the fields of requests and for the columns that hold them, made from the tasks; none is named here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from bertsmith.cli.options import Option
from bertsmith.recipes.tables import TABLES
from bertsmith.tasks import Task
from bertsmith.tasks.reading import field_names

Tasks = Iterable[type[Task[Any, Any]]]


def column_options(tasks: Tasks) -> list[Option]:
    """`--FIELD-column` for every field of the tasks' examples: the keys of the setting `columns`."""
    names = dict.fromkeys(name for task in tasks for name in field_names(task))
    return [_option("columns", name, f"{name}_column", str, f"column of {name}; None: found") for name in names]


def named_columns(names: Iterable[str]) -> list[Option]:
    """`--NAME-column` for columns that no task has."""
    return [_option("columns", name, f"{name}_column", str, f"column of {name}; None: found") for name in names]


def request_options(tasks: Tasks) -> list[Option]:
    """`--FIELD` for every field of the tasks' requests: the keys of the setting `request`.

    A field that holds several texts in one of the tasks takes several words.
    """
    asked: dict[str, list[str]] = {}
    kinds: dict[str, Any] = {}
    for task in tasks:
        hints = get_type_hints(task.Request)
        for name in (field.name for field in fields(task.Request)):
            asked.setdefault(name, []).append(task.name)
            kinds[name] = tuple[str, ...] if kinds.get(name, str) is not str or _is_many(hints[name]) else str
    return [_option("request", name, name, kinds[name], f"for {', '.join(of)}") for name, of in asked.items()]


def _is_many(annotation: Any) -> bool:
    return get_origin(annotation) is tuple or any(map(_is_many, get_args(annotation)))


def _option(table: str, key: str, spelling: str, kind: Any, description: str) -> Option:
    field = FieldInfo(annotation=kind, description=description, default=None)
    group = {"columns": TABLES, "request": "One request"}[table]
    return Option(f"{table}.{key}", ("--" + spelling.replace("_", "-"),), field, None, group)
