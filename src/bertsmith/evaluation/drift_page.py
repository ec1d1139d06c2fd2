"""A page on drift: what has moved, by how much, and how it looks. Knows what was found, no task and no model."""

from __future__ import annotations

from collections.abc import Sequence

from bertsmith.evaluation.drift import Drift, Shift
from bertsmith.evaluation.plots import Bar, Line, bars, curves
from bertsmith.evaluation.report import (
    Example,
    Markup,
    Page,
    bullets,
    callout,
    examples,
    figure,
    paragraph,
    table,
    tiles,
)

INDICES = {
    "psi": "stability index",
    "js": "Jensen-Shannon divergence, bits",
    "mmd": "squared maximum mean discrepancy",
    "auc": "area under the ROC curve",
}
MAX_LABELS = 20


def drift_page(
    found: Drift, *, model: str, then: str, now: str, strange: Sequence[Example] = (), warnings: Sequence[str] = ()
) -> Page:
    """then, now: what both sides are called. strange: the requests that are least like those of training."""
    page = Page(f"Drift of {model}", f"{now}, compared with {then}")
    page.section("In short", *_in_short(found), *(callout(text, "bad") for text in warnings))
    rows = [_row(shift) for shift in found.shifts]
    head = ["", "distance", "by chance, usually", "p", "before", "now", "of", "verdict"]
    page.section("Measures", table(head, rows), *_explained(found))
    if found.curves:
        drawn = [
            figure(
                curves(
                    [Line("before", curve.xs, curve.then), Line("now", curve.xs, curve.now, series=1)],
                    title=curve.name,
                    x_label=curve.name,
                    y_label="share of requests up to here",
                    percent=True,
                    whole=curve.name != "confidence",
                ),
                curve.name.capitalize(),
            )
            for curve in found.curves
        ]
        page.section("Distributions", *drawn)
    if found.labels:
        page.section("Decisions", *_labels(found))
    if strange:
        page.section("Least like what it was trained on", examples(strange))
    return page


def verdict(shift: Shift) -> str:
    if shift.alarm:
        return "shifted"
    return "changed a little" if shift.is_certain else "no change shown"


def _in_short(found: Drift) -> list[Markup]:
    moved = [shift.name for shift in found.shifts if shift.alarm]
    first = found.shifts[0]
    said = f"What is asked has shifted: {', '.join(moved)}." if moved else "No shift is shown."
    facts = [(f"{first.num_now:,}", "requests now"), (f"{first.num_then:,}", "before")]
    return [callout(said, "bad" if moved else "good"), tiles([*facts, (f"{found.alarm_rate:.0%}", "of false alarms")])]


def _row(shift: Shift) -> list[str]:
    usual = "" if shift.usual is None else f"{shift.usual:.3g}"
    of = f"{shift.figure}; {shift.num_then:,} and {shift.num_now:,}"
    figures = [f"{shift.then:.3g}", f"{shift.now:.3g}"]
    return [shift.name, f"{shift.value:.3g} ({shift.index})", usual, f"{shift.p:.2g}", *figures, of, verdict(shift)]


def _explained(found: Drift) -> list[Markup]:
    kinds = dict.fromkeys(shift.index for shift in found.shifts)
    return [
        bullets(f"{kind}: {INDICES[kind]}" for kind in kinds),
        paragraph(
            "p is the probability of a distance as large by chance: requests of both sides are dealt out anew, whole, "
            "and measured again. All measures together raise a false alarm in "
            f"{found.alarm_rate:.0%} of the cases where nothing has changed. A stability index that is certain and "
            "small is told and raises none."
        ),
    ]


def _labels(found: Drift) -> list[Markup]:
    shown = list(found.labels.items())[:MAX_LABELS]
    drawn = [
        bar
        for name, (then, now) in shown
        for bar in (Bar(f"{name}, before", then, series=4), Bar(f"{name}, now", now, series=1))
    ]
    left = len(found.labels) - len(shown)
    caption = f"{left:,} rarer ones are not shown." if left else ""
    return [figure(bars(drawn, title="Predicted labels", x_label="share of decisions"), "Predicted labels", caption)]
