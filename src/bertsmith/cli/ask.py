"""`bertsmith ask`: answers from the documents of an index, with where they stand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.ask import AskSettings, ask
from bertsmith.search.provenance import Provenance

SHOWN_CHARACTERS = 80


@verb("folder", "question")
def run(settings: AskSettings, output: Output) -> dict[str, Any]:
    """Answer questions from the documents of an index, or say that they do not."""
    told = Provenance()
    report = ask(settings, output.progress, told)
    if told.warning is not None:
        output.say(f"warning: {told.warning}")
    if report.tuned is not None:
        output.facts(
            "fitted",
            {
                "questions": report.tuned.rule.num_questions,
                "threshold": report.tuned.rule.threshold,
                "answered": report.tuned.coverage,
                "of these wrong": report.tuned.risk,
                "may be wrong": report.tuned.wanted_risk,
            },
        )
    for question, answered in zip(settings.question, report.answers, strict=True):
        place = answered.citation
        output.facts(
            question,
            {
                "answer": "I don't know" if answered.answer is None else answered.answer,
                "confidence": answered.score,
                **({} if place is None else {"from": f"{place.document}, characters {place.start} to {place.end}"}),
                **({} if place is None or not answered.hits else {"there": _around(answered)}),
            },
        )
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    answers = zip(settings.question, report.answers, strict=True)
    return {
        "answers": [{"question": question, **asdict(answered)} for question, answered in answers],
        "tuned": None if report.tuned is None else asdict(report.tuned),
        "warnings": report.warnings,
        "models": told.models,
        "truncation": asdict(told.truncation),
    }


def _around(answered: Any) -> str:
    """The answer with what stands around it."""
    place = answered.citation
    hit = next(one for one in answered.hits if one.document == place.document and one.start <= place.start < one.end)
    start, end = place.start - hit.start, place.end - hit.start
    before, after = hit.text[max(0, start - SHOWN_CHARACTERS) : start], hit.text[end : end + SHOWN_CHARACTERS]
    return " ".join(f"...{before}[{hit.text[start:end]}]{after}...".split())
