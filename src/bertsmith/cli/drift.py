"""`bertsmith drift`: whether what a model is asked now is like what it was trained on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.fields import column_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.evaluation.drift_page import verdict
from bertsmith.recipes.drift import DriftSettings, drift
from bertsmith.tasks import TASKS

HEAD = ["measure", "distance", "kind", "by chance", "p", "before", "now", "verdict"]


@verb("folder", "file", keys=column_options(TASKS.values()))
def run(settings: DriftSettings, output: Output) -> dict[str, Any]:
    """Compare what is asked now with what a model was trained on."""
    report = drift(settings, output.progress)
    rows = [
        [s.name, s.value, s.index, "" if s.usual is None else s.usual, s.p, s.then, s.now, verdict(s)]
        for s in report.drift.shifts
    ]
    output.table(f"{settings.file.name} beside {report.reference}", rows, HEAD)
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    moved = [shift.name for shift in report.drift.shifts if shift.alarm]
    output.say(f"shifted: {', '.join(moved)}" if moved else "no shift is shown")
    if report.strange_rows:
        output.say(f"least like training: rows {', '.join(map(str, report.strange_rows))}")
    if report.report is not None:
        output.say(f"report: {report.report}")
    return asdict(report)
