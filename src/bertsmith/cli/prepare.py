"""`bertsmith prepare`: text files to a corpus for pre-training, and an account of what was cut or skipped."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.prepare import PrepareSettings, prepare


@verb("files")
def run(settings: PrepareSettings, output: Output) -> dict[str, Any]:
    """Turn text into a corpus for pre-training."""
    report = prepare(settings, output.progress)
    rates = {
        "unknown_fraction": report.unknown_fraction,
        "tokens_per_second": report.tokens_per_second,
        "bytes_per_second": report.bytes_per_second,
    }
    facts = {"output_dir": str(settings.output_dir), **asdict(report), **rates}
    output.facts("corpus", facts)
    return facts
