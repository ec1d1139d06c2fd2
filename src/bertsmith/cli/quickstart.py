"""`bertsmith quickstart`: the whole life of a small BERT, and a summary of what came of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.evaluation.intervals import Interval
from bertsmith.recipes.quickstart import QuickstartReport, QuickstartSettings, quickstart
from bertsmith.recipes.quickstart.results import winner, worth_of_pretraining
from bertsmith.runtime.progress import duration


@verb()
def run(settings: QuickstartSettings, output: Output) -> dict[str, Any]:
    """From text to a tested classifier, with no download."""
    report = quickstart(settings, output.progress)
    _summary(report, output)
    return asdict(report)


def _summary(report: QuickstartReport, output: Output) -> None:
    pretraining = report.pretraining
    output.facts(
        "pre-training",
        {
            "text": f"{report.corpus.num_tokens:,} tokens of {report.corpus.num_files:,} files",
            "vocabulary": f"{report.vocabulary.num_tokens:,} tokens",
            "network": f"{report.network}; {pretraining.num_parameters:,} parameters",
            "steps": f"{pretraining.num_steps:,}, {pretraining.tokens_per_second:,.0f} tokens a second",
            "masked tokens guessed right": f"{pretraining.masked_accuracy:.1%}",
            "next sentences told right": f"{pretraining.sentence_accuracy:.1%}",
        },
    )
    output.table(
        "a hidden word, and the first guesses",
        [(fill.text, fill.hidden, ", ".join(guess for guess, _ in fill.guesses[:3])) for fill in pretraining.fills[:4]],
        header=("sentence", "hidden", "guesses"),
    )
    for question in report.questions:
        output.table(
            question.title,
            [(score.model, _percent(score.accuracy), f"{score.f1_macro:.3f}") for score in question.scores],
            header=("model", "accuracy on held-out modules (95% interval)", "macro F1"),
        )
        output.say(f"{winner(question)}\n{worth_of_pretraining(question)}\n")
    output.say(f"{duration(report.total_seconds)} in all; the whole report: {report.report}")
    output.say(f"next: bertsmith fill-mask {report.output_dir}/pretrained 'Return the [MASK] of the list.'")


def _percent(accuracy: Interval) -> str:
    return f"{accuracy.value:.1%} ({accuracy.low:.1%} to {accuracy.high:.1%})"
