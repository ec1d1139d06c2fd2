"""`bertsmith minimal-pairs`: whether a pre-trained model prefers sentences that are right to ones that are not."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.fields import named_columns
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.evaluation.minimal_pairs import Preference
from bertsmith.recipes.minimal_pairs import COLUMNS, MinimalPairsSettings, minimal_pairs

HEAD = ["phenomenon", "field", "pairs", "accuracy", "from", "to (95%)"]


@verb("model", "file", keys=named_columns(COLUMNS))
def run(settings: MinimalPairsSettings, output: Output) -> dict[str, Any]:
    """Say of pairs of sentences which a pre-trained model prefers."""
    report = minimal_pairs(settings, output.progress)
    found = report.found
    everything = Preference("all pairs", "", found.num_pairs, found.accuracy)
    output.table("prefers the right sentence (chance: 0.5)", map(_row, (*found.phenomena, everything)), HEAD)
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    if report.report is not None:
        output.say(f"report: {report.report}")
    facts = {name: value for name, value in asdict(found).items() if name != "pairs"}
    return facts | {"warnings": report.warnings, "report": report.report}


def _row(one: Preference) -> list[object]:
    return [one.name, one.field, one.num_pairs, one.accuracy.value, one.accuracy.low, one.accuracy.high]
