"""How a run reads its tables: which column fills which field, and what bad rows get; the same words for every verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.settings import Settings

SUFFIX = "_column"
TABLES = "Tables"
"""What these settings stand under in the help."""


class TableSettings(Settings):
    """`FIELD_column` is another way to write `columns.FIELD`, and the one that options have: `--FIELD-column`."""

    columns: dict[str, str] = Field({}, description="column of each field, by field; the others are found")
    column_names: tuple[str, ...] = Field(
        (), title=TABLES, description="column names of tables whose first line has none"
    )
    errors: ErrorPolicy = Field(
        "error",
        title=TABLES,
        description="on bad rows: error (stop and name them), replace (U+FFFD for what is no text) or skip",
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_columns(cls, values: Any) -> Any:
        """Where both ways name a column for one field, `FIELD_column` holds; None leaves it to be found."""
        if not isinstance(values, Mapping):
            return values
        named = {name: column for name, column in values.items() if _is_column(name) and name not in cls.model_fields}
        columns = values.get("columns", {})
        if not named or not isinstance(columns, Mapping):
            return values
        given = {name.removesuffix(SUFFIX): column for name, column in named.items() if column is not None}
        rest = {name: value for name, value in values.items() if name not in named}
        return rest | {"columns": {**columns, **given}}

    @property
    def reading(self) -> Reading:
        """A fresh account of what is read as these settings say."""
        return Reading(errors=self.errors, column_names=self.column_names)


def _is_column(name: Any) -> bool:
    return isinstance(name, str) and name.endswith(SUFFIX) and name != SUFFIX
