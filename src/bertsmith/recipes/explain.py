"""Why a saved model answers one request as it does, shown on a page if wanted, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import load_artifact
from bertsmith.errors import SettingsError
from bertsmith.explain.explanation import ExplainerSettings, Explanation, explain
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.explanation_page import page
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings


class ExplainSettings(Settings):
    """One explanation."""

    folder: Path = Field(description="saved model")
    text: tuple[str, ...] = Field((), description="the text; of a request with more fields give each by its option")
    request: dict[str, Any] = Field({}, description="the request, by its fields, instead of a text")
    output_file: Path | None = Field(None, description="page to write, .html; None: to the terminal alone")
    with_attention: bool = Field(False, description="attention by layer and head in the JSON too")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    task: dict[str, Any] = Field({}, description="settings of the model's task, laid over those that it was saved with")
    how: ExplainerSettings = ExplainerSettings()


@dataclass(frozen=True)
class ExplainReport:
    """output_file: the page, if one was written. warnings: of the model."""

    explanation: Explanation
    output_file: Path | None
    warnings: tuple[str, ...]


def explain_prediction(
    settings: ExplainSettings | Mapping[str, Any], progress: Progress | None = None
) -> ExplainReport:
    """Explain one request, in fp32. Raises what `explain` does, and `SettingsError` for what is no single request."""
    settings = settings if isinstance(settings, ExplainSettings) else ExplainSettings.of(settings)
    if bool(settings.request) == bool(settings.text):
        raise SettingsError("explain needs a text, or the fields of one request: one of the two")
    if len(settings.text) > 1:
        raise SettingsError(
            f"explain takes one text, found {len(settings.text)}: put it in quotes; of a request with more fields give "
            "each by its option, as --text and --text-pair"
        )
    output = settings.output_file
    if output is not None and (output.suffix != ".html" or output.is_dir()):
        raise SettingsError(f"{output}: the page is a file that ends in .html")
    artifact = load_artifact(settings.folder).asked_with(settings.task)
    predictor = Predictor.of(artifact, device=settings.device, precision="fp32")
    request = artifact.task.request(settings.request or settings.text[0], "the request")
    with (progress or Progress()).phase("explaining", unit="batches") as phase:

        def count() -> None:
            raise_if_asked()
            phase.advance(1)

        found = explain(predictor, request, settings.how, count)
    if output is not None:
        page(found, model=settings.folder.resolve().name).write(output)
    return ExplainReport(found, output, tuple(artifact.record.get("notes", ())))
