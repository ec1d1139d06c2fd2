"""`bertsmith predict`: what a saved model says of texts, or of a file of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from bertsmith.cli.fields import column_options, request_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output, cell
from bertsmith.recipes.predict import PredictReport, PredictSettings, predict
from bertsmith.runtime.progress import shorten
from bertsmith.tasks import TASKS
from bertsmith.tasks.task import IN_TABLES

SHOWN_NUMBERS = 6
SHOWN_PARTS = 10


@verb("folder", "text", keys=[*request_options(TASKS.values()), *column_options(TASKS.values())])
def run(settings: PredictSettings, output: Output) -> dict[str, Any]:
    """Predict for texts, or for a file of requests."""
    report = predict(settings, output.progress)
    if report.output_file is None:
        header, rows = _table(report.predictions, settings.text, report.rows)
        output.table("predictions", rows, header)
    else:
        output.say(f"{report.num_requests:,} predictions in {report.output_file}")
    say_what_was_read(report, output, "requests")
    return asdict(report)


def say_what_was_read(report: PredictReport, output: Output, what: str) -> None:
    """The warnings, and how many requests were not read whole, or not at once."""
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    if report.num_cut_requests:
        output.say(f"cut: {report.num_cut_tokens:,} tokens of {report.num_cut_requests:,} {what} were not read")
    if report.num_windowed_requests:
        output.say(f"{report.num_windowed_requests:,} {what} were too long for one window and were read in several")


def _table(
    predictions: Sequence[Any], texts: Sequence[str], places: Sequence[int]
) -> tuple[list[str], list[list[object]]]:
    """The predictions' plain fields, a row each, beside the texts where they came from the command line."""
    rows: list[dict[str, object]] = [{"request": shorten(text)} for text in texts] or [{"row": row} for row in places]
    for row, prediction in zip(rows, predictions, strict=True):
        row |= _row(prediction)
    header = list(dict.fromkeys(name for row in rows for name in row))
    return header, [[row.get(name, "") for name in header] for row in rows]


def _row(prediction: Any) -> dict[str, object]:
    """What a table shows of a prediction: the fields that say so, and those that fit where they say nothing."""
    values, row = asdict(prediction), {}
    for field in fields(prediction):
        wanted = field.metadata.get(IN_TABLES)
        shown = None if wanted is False else values[field.name] if wanted else _shown(values[field.name])
        if shown is not None:
            row[field.name] = shown
    return row


def _shown(value: object) -> object | None:
    """What fits into a cell: a text, a number, names, the first numbers of many, or things with names."""
    if isinstance(value, str | float):
        return value
    if not isinstance(value, list | tuple) or not value:
        return None
    if all(isinstance(part, str) for part in value):
        return ", ".join(map(str, value))
    if all(isinstance(part, int | float) for part in value):
        return ", ".join(map(cell, value[:SHOWN_NUMBERS])) + (" ..." if len(value) > SHOWN_NUMBERS else "")
    if all(isinstance(part, dict) for part in value):
        parts = [" ".join(cell(v) for v in part.values() if isinstance(v, str | float)) for part in value]
        return "; ".join(parts[:SHOWN_PARTS]) + (f"; and {len(parts) - SHOWN_PARTS} more" * (len(parts) > SHOWN_PARTS))
    return None
