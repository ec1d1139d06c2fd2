"""`bertsmith explain`: which words made a saved model answer as it does, and how far that can be believed."""

from __future__ import annotations

from typing import Any

from bertsmith.cli.fields import request_options
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.explain.explanation import Explanation
from bertsmith.recipes.explain import ExplainSettings, explain_prediction
from bertsmith.tasks import TASKS

SHOWN_WORDS, BAR_CHARACTERS = 12, 20
FOR, AGAINST = (86, 180, 233), (240, 136, 62)


@verb("folder", "text", keys=request_options(TASKS.values()))
def run(settings: ExplainSettings, output: Output) -> dict[str, Any]:
    """Explain a prediction by the words that made it."""
    report = explain_prediction(settings, output.progress)
    found = report.explanation
    target = found.target
    number = f"{target.value:.4f}" if target.probability is None else f"probability {target.probability:.3f}"
    output.say(f"{target.name}: {number}, explained by {found.explainer}")
    for name, parts in _texts(found):
        output.styled([(f"{name}: " if len(found.texts) > 1 else "", ""), *parts])
    output.table(f"words, by {target.unit}", _rows(found), ("word", "score", "", "text", "start", "end"))
    output.facts("faithfulness", _facts(found))
    output.say(found.faithfulness.verdict)
    covered = found.coverage
    if covered.num_explained_words < covered.num_words or covered.num_cut_tokens:
        output.say(
            f"explained: {covered.num_explained_words:,} of {covered.num_words:,} words, in "
            f"{covered.num_explained_windows} of {covered.num_windows} windows; {covered.num_cut_tokens:,} tokens cut"
        )
    if report.output_file is not None:
        output.say(f"page: {report.output_file}")
    for warning in report.warnings:
        output.say(f"warning: {warning}")
    return found.to_dict(with_attention=settings.with_attention)


def _texts(found: Explanation) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each text as stretches with styles: the stronger a word's score, the stronger its colour."""
    largest = max(abs(word.score) for word in found.words) or 1.0
    lines = []
    for text in found.texts:
        parts, at = [], 0
        for word in found.words:
            if word.text == text.name and word.start >= at:
                parts += [
                    (text.text[at : word.start], ""),
                    (text.text[word.start : word.end], _style(word.score / largest)),
                ]
                at = word.end
        lines.append((text.name, [*parts, (text.text[at:], "")]))
    return lines


def _style(share: float) -> str:
    """A tint between white and a colour; black on it can be read."""
    if abs(share) < 0.05:
        return ""
    color = FOR if share > 0 else AGAINST
    red, green, blue = (round(255 + (part - 255) * abs(share)) for part in color)
    return f"black on #{red:02x}{green:02x}{blue:02x}"


def _rows(found: Explanation) -> list[tuple[object, ...]]:
    """The words with the largest scores, largest first, with bars."""
    words = sorted(found.words, key=lambda word: -abs(word.score))
    largest = abs(words[0].score) or 1.0
    return [
        (
            word.word,
            f"{word.score:+.4f}",
            ("+" if word.score > 0 else "-") * round(BAR_CHARACTERS * abs(word.score) / largest),
            word.text,
            word.start,
            word.end,
        )
        for word in words[:SHOWN_WORDS]
    ]


def _facts(found: Explanation) -> dict[str, Any]:
    """Each figure beside that of words in a random order."""
    held, known = found.faithfulness, found.completeness
    facts: dict[str, Any] = {
        "comprehensiveness": held.comprehensiveness,
        "comprehensiveness, random": held.random_comprehensiveness,
        "sufficiency (less is better)": held.sufficiency,
        "sufficiency, random": held.random_sufficiency,
    }
    if known is not None:
        facts |= {"completeness, missing": f"{known.error:.2%}", "gradients taken": known.num_steps}
    return facts
