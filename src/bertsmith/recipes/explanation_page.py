"""The page of an explanation: the words and their scores, attention, and how far all that can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bertsmith.evaluation.report import Markup, Page, Tone, callout, figure, paragraph, side_by_side, table, tiles
from bertsmith.explain.drawing import MOST_WORDS, head_map, marked_text, score_bars, word_lines
from bertsmith.explain.explanation import EXPLAINERS, Explanation
from bertsmith.explain.faithfulness import SHARES, Faithfulness

NOT_WHY = (
    "Attention shows where the network looks, not why it decides: other attention can give the same answer (Jain and "
    "Wallace 2019). Take it as a picture of the machine, and the scores above as the explanation."
)


def page(found: Explanation, *, model: str) -> Page:
    """The page of `found`; the name is that of the model's folder."""
    made = Page(f"Why {found.target.name}", f"{model}, {found.task}; explained by {found.explainer.replace('_', ' ')}")
    made.section("In short", *_in_short(found))
    made.section("The words", *_words(found))
    made.section("How far to believe it", *_faith(found))
    if found.attention is not None:
        made.section("Attention", *_attention(found, len(found.attention.between)))
    return made


def _in_short(found: Explanation) -> Iterator[Markup]:
    target, best = found.target, max(found.words, key=lambda word: word.score)
    number = f"{target.value:.3f}" if target.probability is None else f"{target.probability:.1%}"
    yield tiles(
        [
            (target.name, "what is explained"),
            (number, "as the model has it" if target.probability is None else "its probability"),
            (best.word, "the word that speaks for it most"),
        ]
    )
    yield callout(found.faithfulness.verdict, _tone(found.faithfulness))
    if found.completeness is not None and not found.completeness.holds:
        yield callout(
            f"The scores miss {found.completeness.error:.1%} of what they should add up to after "
            f"{found.completeness.num_steps} steps: raise max_steps.",
            "bad",
        )
    covered = found.coverage
    if covered.num_explained_words < covered.num_words or covered.num_cut_tokens:
        yield callout(
            f"Explained are {covered.num_explained_words:,} of {covered.num_words:,} words, those of "
            f"{covered.num_explained_windows} of {covered.num_windows} windows, which the answer came from; "
            f"{covered.num_cut_tokens:,} tokens were not read at all."
        )


def _tone(held: Faithfulness) -> Tone:
    if held.beaten is None:
        return "plain"
    return "good" if held.beaten >= 0.9 else "plain" if held.beaten > 0.5 else "bad"


def _words(found: Explanation) -> Iterator[Markup]:
    yield paragraph(EXPLAINERS[found.explainer].does if found.explainer in EXPLAINERS else "")
    for text in found.texts:
        name = f"<h3>{escape(text.name)}</h3>" if len(found.texts) > 1 else ""
        yield Markup(name + marked_text(text, found.words))
    more = f"The {MOST_WORDS} words with the largest scores." if len(found.words) > MOST_WORDS else ""
    yield figure(Markup(score_bars(found.words)), f"Scores, in {found.target.unit}", more)


def _faith(found: Explanation) -> Iterator[Markup]:
    held = found.faithfulness
    random = held.random_comprehensiveness, held.random_sufficiency
    yield table(
        ["", "these scores", "random order"],
        [
            [
                "lost without the words named first (comprehensiveness)",
                _number(held.comprehensiveness),
                _number(random[0]),
            ],
            ["lost with them alone (sufficiency, less is better)", _number(held.sufficiency), _number(random[1])],
        ],
    )
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    unit = "of the number" if found.target.probability is None else "of the probability"
    yield paragraph(
        f"Means {unit} over {shares} of the words, [MASK] standing for what is taken away (DeYoung et al. 2020); "
        f"{held.num_random} random orders."
    )
    if found.completeness is not None:
        known = found.completeness
        yield paragraph(
            f"The scores add up to {known.sum:+.3f}; from a text of [MASK]s to this one the number changes by "
            f"{known.difference:+.3f}. {known.error:.2%} is missing, after {known.num_steps} gradients."
        )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _attention(found: Explanation, num_layers: int) -> Iterator[Markup]:
    yield callout(NOT_WHY)
    caption = (
        "From where the prediction is read; the stronger a cell, the more attention. Heads of a layer stand together."
    )
    yield figure(Markup(head_map(found)), "By layer and head", caption)
    first = figure(Markup(word_lines(found, num_layers - 1)), f"Between words, layer {num_layers}", "The heads' mean.")
    others = "".join(
        f"<details><summary>Layer {layer + 1}</summary>{word_lines(found, layer)}</details>"
        for layer in range(num_layers - 1)
    )
    yield side_by_side(first, Markup(f"<div>{others}</div>"))
