"""`bertsmith generate`, `translate`, `summarize`: texts that a model writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.fields import column_options, request_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.cli.predict import say_what_was_read
from bertsmith.recipes.generate import GenerateSettings, WriteSettings, generate
from bertsmith.runtime.progress import shorten
from bertsmith.tasks import TASKS

KEYS = [*request_options([TASKS["seq2seq"]]), *column_options([TASKS["seq2seq"]])]


@verb("folder", "text", keys=KEYS)
def run(settings: GenerateSettings, output: Output) -> dict[str, Any]:
    """Write texts to sources, to keywords or to a beginning."""
    return _written(settings, output, "written")


@verb("folder", "text", keys=KEYS)
def translate(settings: WriteSettings, output: Output) -> dict[str, Any]:
    """Translate texts, or a file of them."""
    return _written(settings, output, "translation")


@verb("folder", "text", keys=KEYS)
def summarize(settings: WriteSettings, output: Output) -> dict[str, Any]:
    """Summarize texts, or a file of them."""
    return _written(settings, output, "summary")


def _written(settings: WriteSettings, output: Output, what: str) -> dict[str, Any]:
    report = generate(settings, output.progress)
    if report.output_file is None:
        names = [shorten(text) for text in settings.text] or list(map(str, report.rows))
        rows = [
            [name, written.text, written.score, "" if getattr(written, "finished", True) else "cut at the length limit"]
            for name, written in zip(names, report.predictions, strict=True)
        ]
        output.table(what, rows, ["source" if settings.text else "row", what, "mean probability", ""])
    else:
        output.say(f"{report.num_requests:,} texts in {report.output_file}")
    say_what_was_read(report, output, "sources")
    return asdict(report)
