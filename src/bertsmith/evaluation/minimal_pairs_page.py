"""The page of minimal pairs: which grammar a model knows, phenomenon by phenomenon. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bertsmith.evaluation.intervals import Interval
from bertsmith.evaluation.minimal_pairs import Preferences, ScoredPair
from bertsmith.evaluation.plots import Bar, bars
from bertsmith.evaluation.report import Example, Page, callout, examples, figure, paragraph, table, tiles

NUM_FAILURES = 20
CHANCE = 0.5


def minimal_pairs_page(found: Preferences, *, model: str, file: str, warnings: Sequence[str] = ()) -> Page:
    """model, file: what they are called."""
    page = Page(f"Minimal pairs: {model}", f"{file}, {found.num_pairs:,} pairs of sentences")
    known = sum(row.accuracy.low > CHANCE for row in found.phenomena)
    page.section(
        "In short",
        tiles(
            [
                (_share(found.accuracy), f"prefers the right sentence, 95% interval {_span(found.accuracy)}"),
                (f"{known} of {len(found.phenomena)}", "phenomena above chance, by the interval"),
                (f"{found.num_pairs:,}", "pairs"),
            ]
        ),
        *(callout(text, "bad") for text in warnings),
    )
    drawn = [Bar(row.name, row.accuracy.value, row.accuracy.low, row.accuracy.high) for row in found.phenomena]
    page.section(
        "By phenomenon",
        figure(
            bars(
                drawn, title="Accuracy by phenomenon", x_label="share of pairs in which the right sentence is preferred"
            ),
            "Accuracy by phenomenon",
            "Chance is 50%.",
        ),
        paragraph(
            "A sentence's score is its pseudo-log-likelihood: each piece is masked in turn, and the log-probabilities "
            "of what stood there are added up (Salazar et al. 2020). Intervals are over pairs: how the figure would "
            "vary with other pairs of these paradigms."
        ),
    )
    rows = [
        [row.name, row.field, f"{row.num_pairs:,}", _share(row.accuracy), _span(row.accuracy)]
        for row in found.paradigms
    ]
    page.section("By paradigm", table(["", "field", "pairs", "accuracy", "95% interval"], rows))
    wrong = sorted((row for row in found.pairs if not row.is_right), key=lambda row: row.good - row.bad)
    if wrong:
        page.section("Where it is most wrong", examples(map(_card, wrong[:NUM_FAILURES])))
    return page


def _card(row: ScoredPair) -> Example:
    pair = row.pair
    tags = (("paradigm", pair.paradigm), ("scores", f"{row.good:.1f} for the right one, {row.bad:.1f} for the other"))
    return Example((pair.good, f"✗ {pair.bad}"), tags, "bad")


def _share(interval: Interval) -> str:
    return f"{interval.value:.1%}"


def _span(interval: Interval) -> str:
    return f"{interval.low:.1%} to {interval.high:.1%}"
