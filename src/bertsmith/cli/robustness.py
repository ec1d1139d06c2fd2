"""`bertsmith robustness`: what typos, case and the like do to a model, and which tests of behaviour it fails."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.fields import column_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.robustness import RobustnessSettings, robustness_of
from bertsmith.tasks import TASKS

CHANGES_HEAD = ["change", "changed", "flips", "lost", "gained", "before", "after", "difference", "from", "to (95%)"]
CHECKS_HEAD = ["test", "kind", "cases", "failed", "rate", "from", "to (95%)"]


@verb("folder", "file", keys=column_options(TASKS.values()))
def run(settings: RobustnessSettings, output: Output) -> dict[str, Any]:
    """Say what small changes of the texts do to a model."""
    report = robustness_of(settings, output.progress)
    if report.found is not None:
        rows = []
        for effect in report.found.effects:
            one = effect.metrics[report.found.main]
            counts = [effect.num_changed, effect.num_flips, effect.num_lost, effect.num_gained]
            figures = [one.second, one.first, one.difference.value, one.difference.low, one.difference.high]
            rows.append([effect.name, *("" if count is None else count for count in counts), *figures])
        output.table(f"{report.found.main}, {report.found.num_examples:,} examples", rows, CHANGES_HEAD)
    if report.checks:
        rows = [
            [c.test, c.kind, c.num_cases, c.num_failed, c.failure_rate.value, c.failure_rate.low, c.failure_rate.high]
            for c in report.checks
        ]
        output.table("tests of behaviour", rows, CHECKS_HEAD)
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    if report.report is not None:
        output.say(f"report: {report.report}")
    return asdict(report)
