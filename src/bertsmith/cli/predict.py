"""`bertsmith predict`: what a saved model says of texts, or of a file of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.predict import PredictSettings, predict
from bertsmith.runtime.progress import shorten


@verb("folder", "text")
def run(settings: PredictSettings, output: Output) -> dict[str, Any]:
    """Predict for texts, or for a file of requests."""
    report = predict(settings, output.progress)
    if report.output_file is None:
        header, rows = _table([asdict(prediction) for prediction in report.predictions], settings.text, report.rows)
        output.table("predictions", rows, header)
    else:
        output.say(f"{report.num_requests:,} predictions in {report.output_file}")
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    if report.num_cut_requests:
        output.say(f"cut: {report.num_cut_tokens:,} tokens of {report.num_cut_requests:,} requests were not read")
    return asdict(report)


def _table(
    predictions: Sequence[dict[str, Any]], texts: Sequence[str], places: Sequence[int]
) -> tuple[list[str], list[list[object]]]:
    """The predictions' plain fields, a row each, beside the texts where they came from the command line."""
    rows: list[dict[str, object]] = [{"request": shorten(text)} for text in texts] or [{"row": row} for row in places]
    for row, prediction in zip(rows, predictions, strict=True):
        row |= {name: value for name, value in prediction.items() if isinstance(value, str | float)}
    return list(rows[0] if rows else ()), [list(row.values()) for row in rows]
