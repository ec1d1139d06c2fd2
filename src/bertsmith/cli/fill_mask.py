"""`bertsmith fill-mask`: what a pre-trained model would write in the blanks of a text."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import load
from bertsmith.settings import Settings
from bertsmith.tasks.pretraining import Pretraining


class FillMaskSettings(Settings):
    folder: Path = Field(description="pre-trained model")
    text: tuple[str, ...] = Field(min_length=1, description="texts with [MASK] where a word is missing")
    top_k: int = Field(5, ge=1, description="candidates for each blank")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


@verb("folder", "text")
def run(settings: FillMaskSettings, output: Output) -> dict[str, Any]:
    """Fill in the [MASK]s of texts."""
    predictor = load(settings.folder, device=settings.device)
    if not isinstance(predictor.task, Pretraining):
        raise SettingsError(f"{settings.folder}: a model for {predictor.task.name}; fill-mask needs a pre-trained one")
    task = Pretraining(predictor.task.settings.model_copy(update={"num_fills": settings.top_k}))
    predictions = replace(predictor, task=task).predict(settings.text)
    output.table(
        "filled in",
        [
            (text, number, fill.token, fill.score)
            for text, prediction in zip(settings.text, predictions, strict=True)
            for number, fills in enumerate(prediction.fills, start=1)
            for fill in fills
        ],
        header=("text", "[MASK]", "token", "score"),
    )
    answers = zip(settings.text, predictions, strict=True)
    return {
        "predictions": [
            {"text": text, "fills": [list(map(asdict, fills)) for fills in answer.fills]} for text, answer in answers
        ]
    }
