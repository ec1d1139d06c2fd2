"""`bertsmith evaluate`: a saved model's score on a file of examples, and a report on it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.fields import column_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.evaluation.intervals import Interval
from bertsmith.recipes.evaluate import EvaluateSettings, evaluate
from bertsmith.tasks import TASKS


@verb("folder", "file", keys=column_options(TASKS.values()))
def run(settings: EvaluateSettings, output: Output) -> dict[str, Any]:
    """Score a saved model on a file of examples."""
    report = evaluate(settings, output.progress)
    output.table(
        "the model", [[name, *_row(i)] for name, i in report.intervals.items()], ["metric", "value", "from", "to (95%)"]
    )
    if report.findings and report.findings.baselines.scores:
        main = report.findings.main
        rows = [
            [baseline.name, *_row(baseline.metrics[main]), baseline.model_against[main].verdict]
            for baseline in report.findings.baselines.scores
        ]
        output.table("baselines", rows, ["", main, "from", "to (95%)", "the model is"])
    output.facts(
        "evaluation",
        {
            "examples": report.num_examples,
            "tokens": report.num_tokens,
            "calibration": report.calibration,
            "examples cut": report.num_cut_examples,
            "tokens cut": report.num_cut_tokens,
            "examples in several windows": report.num_windowed_examples,
            "warnings": report.warnings,
            "report": report.report,
        },
    )
    return asdict(report)


def _row(interval: Interval) -> list[float]:
    return [interval.value, interval.low, interval.high]
