"""`bertsmith merge`: an adapter and the model that it was trained over become one model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.merge import MergeSettings, merge


@verb("base", "adapter")
def run(settings: MergeSettings, output: Output) -> dict[str, Any]:
    """Merge an adapter into the model that it was trained over."""
    report = merge(settings)
    output.facts(
        "merged",
        {
            "task": report.task or "none recorded",
            "adapted layers": report.num_adapted_layers,
            "left out": ", ".join(report.left_out) or "nothing",
            "saved in": report.output_dir,
        },
    )
    return asdict(report)
