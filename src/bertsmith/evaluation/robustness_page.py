"""The page of robustness: what small changes do to a model, which tests it fails, and on what. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bertsmith.evaluation.checks import CheckResult, FailedCase
from bertsmith.evaluation.intervals import Interval
from bertsmith.evaluation.mistakes import Mistake
from bertsmith.evaluation.plots import Bar, bars
from bertsmith.evaluation.report import (
    Example,
    Markup,
    Page,
    Tone,
    callout,
    examples,
    figure,
    paragraph,
    table,
    tiles,
)
from bertsmith.evaluation.robustness import ChangeEffect, Failure, Robustness

FAILURES_SHOWN = 8
"""Of a change or a test, on the page; the JSON has more."""
TONES: dict[str, Tone] = {"worse": "bad", "better": "good", "no difference shown": "plain"}


def robustness_page(
    found: Robustness | None, checks: Sequence[CheckResult], *, model: str, data: str, warnings: Sequence[str] = ()
) -> Page:
    """found: of the changes of a file's examples, where there was one. checks: tests, where there were some."""
    page = Page(f"Robustness of {model}", data)
    page.section("In short", *_in_short(found, checks), *(callout(text, "bad") for text in warnings))
    if found is not None:
        page.section("Small changes of the texts", *_changes(found))
    if checks:
        page.section("Tests of behaviour", *_checks(checks))
    for effect in found.effects if found is not None else ():
        if effect.failures:
            page.section(f"Lost by {effect.name}", examples(map(_lost, effect.failures[:FAILURES_SHOWN])))
    for check in checks:
        if check.failures:
            page.section(f"Failed: {check.test}", examples(map(_failed, check.failures[:FAILURES_SHOWN])))
    return page


def _in_short(found: Robustness | None, checks: Sequence[CheckResult]) -> list[Markup]:
    parts: list[Markup] = []
    if found is not None:
        before = found.before[found.main]
        parts.append(
            tiles([(f"{before.value:.3f}", f"{found.main} as they are, 95% interval {_span(before)}")])
            if not found.effects
            else _worst(found)
        )
    if checks:
        failed, total = sum(check.num_failed for check in checks), sum(check.num_cases for check in checks)
        parts.append(tiles([(f"{failed / total:.1%}", f"of {total:,} cases fail"), (f"{len(checks)}", "tests")]))
    return parts


def _worst(found: Robustness) -> Markup:
    before = found.before[found.main]
    worst = min(found.effects, key=lambda effect: _signed(effect, found.main))
    difference = worst.metrics[found.main].difference
    return tiles(
        [
            (f"{before.value:.3f}", f"{found.main} as they are, 95% interval {_span(before)}"),
            (f"{worst.metrics[found.main].first:.3f}", f"after the worst change, {worst.name}"),
            (
                f"{difference.value:+.3f}",
                f"the difference, 95% interval {difference.low:+.3f} to {difference.high:+.3f}",
            ),
            (f"{found.num_examples:,}", "examples"),
        ]
    )


def _signed(effect: ChangeEffect, metric: str) -> float:
    comparison = effect.metrics[metric]
    return comparison.difference.value if comparison.higher_is_better else -comparison.difference.value


def _changes(found: Robustness) -> list[Markup]:
    name, before = found.main, found.before[found.main]
    drawn = [Bar("as they are", before.value, before.low, before.high, series=4)]
    drawn += [Bar(effect.name, effect.metrics[name].first) for effect in found.effects]
    rows = [
        [
            effect.name,
            effect.what,
            f"{effect.num_changed:,}",
            "" if effect.num_flips is None else f"{effect.num_flips:,}",
            f"{effect.num_lost:,}",
            f"{effect.num_gained:,}",
            f"{effect.metrics[name].first:.3f}",
            f"{_difference(effect.metrics[name].difference)}",
            effect.metrics[name].verdict,
        ]
        for effect in found.effects
    ]
    head = ["", "what", "changed", "flips", "lost", "gained", name, "difference (95%)", "after is"]
    left = f"Left out, as they would move the answers: {', '.join(found.left_out)}." if found.left_out else ""
    are_fractions = before.low >= 0 and before.high <= 1
    return [
        *([figure(bars(drawn, title=name, x_label=name), f"{name} before and after")] if are_fractions else []),
        table(head, rows),
        paragraph(
            "Flips are changed texts that are answered otherwise than before, rightly or wrongly; lost and gained are "
            "examples that are less and more right than before. The difference is of the same examples, in brackets "
            f"its 95% interval over draws of them. {left}"
        ),
    ]


def _checks(checks: Sequence[CheckResult]) -> list[Markup]:
    rows = [
        [
            check.test,
            check.kind,
            check.capability,
            f"{check.num_cases:,}",
            f"{check.num_failed:,}",
            f"{check.failure_rate.value:.1%} ({check.failure_rate.low:.1%} to {check.failure_rate.high:.1%})",
        ]
        for check in checks
    ]
    return [
        table(["test", "kind", "capability", "cases", "failed", "failure rate (95%)"], rows),
        paragraph(
            "MFT: texts with a known answer. INV: texts that must all get the same answer. A case fails where any of "
            "its texts does (Ribeiro et al. 2020)."
        ),
    ]


def _lost(failure: Failure) -> Example:
    tags = [("known", failure.before.known), *_said("before", failure.before), *_said("after", failure.after)]
    return Example((*failure.before.texts, *(f"→ {text}" for text in failure.after.texts)), tuple(tags), "bad")


def _said(when: str, one: Mistake) -> list[tuple[str, str]]:
    name, value = next(iter(one.given.items()), ("", ""))
    return [(when, f"{value} ({one.where})" if when == "before" else value)] if name else []


def _failed(case: FailedCase) -> Example:
    return Example(case.texts, (*case.said.items(), ("row", case.where)), "bad")


def _difference(interval: Interval) -> str:
    return f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def _span(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"
