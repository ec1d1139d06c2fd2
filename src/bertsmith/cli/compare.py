"""`bertsmith compare`: whether one model is better than another, or the difference is noise."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.fields import column_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.compare import CompareSettings, compare
from bertsmith.tasks import TASKS


@verb("first", "second", "file", keys=column_options(TASKS.values()))
def run(settings: CompareSettings, output: Output) -> dict[str, Any]:
    """Compare two models on the same examples."""
    report = compare(settings, output.progress)
    rows = [
        [name, c.first, c.second, c.difference.value, c.difference.low, c.difference.high, c.verdict]
        for name, c in report.metrics.items()
    ]
    header = ["metric", str(settings.first), str(settings.second), "difference", "from", "to (95%)", "the first is"]
    output.table(f"{report.num_examples:,} examples", rows, header)
    output.say(
        f"answered better by {settings.first}: {report.only_first:,} examples; "
        f"by {settings.second}: {report.only_second:,}"
    )
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    metrics = {name: asdict(c) | {"verdict": c.verdict} for name, c in report.metrics.items()}
    return asdict(report) | {"metrics": metrics}
