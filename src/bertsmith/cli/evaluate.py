"""`bertsmith evaluate`: a saved model's score on a file of examples."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.evaluate import EvaluateSettings, evaluate


@verb("folder")
def run(settings: EvaluateSettings, output: Output) -> dict[str, Any]:
    """Score a saved model on a file of examples."""
    facts = asdict(evaluate(settings, output.progress))
    output.facts("evaluation", facts)
    return facts
