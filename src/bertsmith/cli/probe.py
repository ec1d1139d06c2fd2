"""`bertsmith probe`: what each layer of a model knows of a task."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.fields import column_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.evaluation.intervals import Interval
from bertsmith.recipes.probe import ProbeSettings, probe_layers
from bertsmith.tasks import TASKS

PROBED = [TASKS[name] for name in ("classification", "token_classification")]


@verb("model", keys=column_options(PROBED))
def run(settings: ProbeSettings, output: Output) -> dict[str, Any]:
    """Say what each layer of a model knows of a task, by linear probes."""
    report = probe_layers(settings, output.progress)
    found = report.found
    names = found.shown
    rows = [
        [layer.name, *_row([*(layer.metrics[n] for n in names), layer.accuracy, layer.control, layer.selectivity])]
        for layer in found.layers
    ]
    output.table(f"what each layer knows, {report.judged_on}", rows, ["", *names, "accuracy", "control", "selectivity"])
    simple = [["commonest label", "accuracy", *_row([found.majority])]]
    simple += [[name, found.metric, *_row([value])] for name, value in found.baselines.items()]
    output.table("without a network", simple, ["", "metric", "value"])
    for warning in (*report.warnings, *found.warnings):
        output.say(f"warning: {warning}")
    if report.report is not None:
        output.say(f"report: {report.report}")
    return asdict(found) | {
        "judged_on": report.judged_on,
        "warnings": [*report.warnings, *found.warnings],
        "report": report.report,
    }


def _row(intervals: list[Interval]) -> list[str]:
    return [f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in intervals]
