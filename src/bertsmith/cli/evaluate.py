"""`bertsmith evaluate`: a saved model's score on a file of examples, and a report on it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.evaluate import EvaluateSettings, evaluate


@verb("folder", "file")
def run(settings: EvaluateSettings, output: Output) -> dict[str, Any]:
    """Score a saved model on a file of examples."""
    report = evaluate(settings, output.progress)
    figures = [[name, i.value, i.low, i.high] for name, i in report.intervals.items()]
    if report.findings:
        figures += [
            [f"{name}, {baseline.name}", i.value, i.low, i.high]
            for baseline in report.findings.baselines.scores
            for name, i in baseline.metrics.items()
        ]
    output.table("figures", figures, ["metric", "value", "from", "to (95%)"])
    output.facts(
        "evaluation",
        {
            "examples": report.num_examples,
            "tokens": report.num_tokens,
            "examples cut": report.num_cut_examples,
            "tokens cut": report.num_cut_tokens,
            "examples in several windows": report.num_windowed_examples,
            "warnings": report.warnings,
            "report": report.report,
        },
    )
    return asdict(report)
