"""`bertsmith verify`: whether the figures that a saved model stands for can be had again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.verify import VerifyReport, VerifySettings, verify


@verb("folder")
def run(settings: VerifySettings, output: Output) -> dict[str, Any]:
    """Compute a saved model's figures again from its data; fail where they do not hold."""
    report = verify(settings, output.progress)
    for one in report.runs:
        _show(f"{one.folder.name}: figures that hold", one, output)
    _show("means over the seeds that hold" if report.runs else "figures that hold", report, output)
    return asdict(report)


def _show(title: str, report: VerifyReport, output: Output) -> None:
    rows = [[f.split, f.metric, f.recorded.value, f.found.value] for f in report.figures]
    output.table(title, rows, ["split", "metric", "recorded", "found"])
