"""`bertsmith pretrain`: a prepared corpus to a pre-trained model."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.pretrain import PretrainSettings, pretrain


@verb("corpus")
def run(settings: PretrainSettings, output: Output) -> dict[str, Any]:
    """Pre-train a BERT on a prepared corpus."""
    report = pretrain(settings, output.progress)
    output.facts(
        "pre-training",
        {
            "parameters": report.num_parameters,
            "training passages": report.num_passages,
            "validation passages": report.num_validation_passages,
            "steps": report.training.num_steps,
            "tokens per second": report.training.tokens_per_second,
            "final loss": report.training.final_loss,
            "spikes in steps": report.training.spikes,
            "cut in the first epoch": str(report.training.truncation),
            "validation": report.metrics,
            "saved in": report.output_dir,
        },
    )
    output.say(f"next: bertsmith fill-mask {report.output_dir} 'A text with a [MASK] in it.'")
    return asdict(report)
