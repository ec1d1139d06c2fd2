"""The page of an evaluation: what a model is worth, how far to trust that, and where it fails. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bertsmith.evaluation.compare import Verdict
from bertsmith.evaluation.evaluate import Evaluation
from bertsmith.evaluation.findings import Baseline, Findings
from bertsmith.evaluation.intervals import Interval
from bertsmith.evaluation.mistakes import MAX_DRAWN_LABELS, LabelCounts, Mistake
from bertsmith.evaluation.plots import MAX_NUMBERED, Bar, bars, heat_map, reliability_diagram
from bertsmith.evaluation.report import (
    Example,
    Markup,
    Page,
    Tone,
    callout,
    examples,
    figure,
    paragraph,
    side_by_side,
    table,
    tiles,
)
from bertsmith.evaluation.slices import Slices

MODEL = "the model"
TONES: dict[Verdict, Tone] = {"better": "good", "worse": "bad", "no difference shown": "plain"}


def page(found: Findings, *, model: str, file: str, other_file: str = "") -> Page:
    """The page of `found`; the names are those of the folder and of the files."""
    made = Page(f"Evaluation of {model}", f"{found.task} on {file}, {found.evaluation.num_examples:,} examples")
    made.section("In short", *_in_short(found))
    made.section("Figures", *_figures(found, other_file))
    if found.reliability:
        made.section("Can its probabilities be believed?", *_reliability(found))
    if found.confusion:
        made.section("What it takes for what", *_confusion(found))
    if found.labels:
        made.section("Label by label", *_labels(found.labels))
    if found.slices:
        made.section("Where it is better and worse", *map(_slices, found.slices))
    made.section("Its worst answers", *_mistakes(found.mistakes))
    made.section("The examples, and what was read of them", *_data(found))
    return made


def _in_short(found: Findings) -> list[Markup]:
    evaluation, name = found.evaluation, found.main
    calibration = [(f"{found.reliability.ece:.3f}", "expected calibration error")] if found.reliability else []
    return [
        tiles(
            [
                (_value(evaluation.intervals[name]), f"{name}, 95% interval {_span(evaluation.intervals[name])}"),
                (f"{evaluation.num_examples:,}", "examples"),
                *calibration,
                (f"{evaluation.num_windowed_examples:,}", "of them read in several windows"),
                (f"{evaluation.num_cut_examples:,}", "of them cut"),
            ]
        ),
        *(_against(baseline, name) for baseline in found.baselines.scores),
        *map(_warning, (*evaluation.warnings, *found.data.warnings())),
    ]


def _against(baseline: Baseline, name: str) -> Markup:
    comparison = baseline.model_against[name]
    said = {
        "better": f"The model beats {baseline.name}",
        "worse": f"{baseline.name[:1].upper()}{baseline.name[1:]} beats the model",
        "no difference shown": f"No difference between the model and {baseline.name} can be shown",
    }[comparison.verdict]
    difference = comparison.difference
    return callout(
        f"{said}: {name} {comparison.first:.3f} against {comparison.second:.3f}, "
        f"a difference of {difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}).",
        TONES[comparison.verdict],
    )


def _figures(found: Findings, other_file: str) -> list[Markup]:
    intervals, scores = found.evaluation.intervals, found.baselines.scores
    rows = [(MODEL, intervals), *((baseline.name, baseline.metrics) for baseline in scores)]
    if found.other:
        rows.append((f"{MODEL} on {other_file}", found.other.intervals))
    shown = [(name, figures[found.main]) for name, figures in rows if found.main in figures]
    drawn = [Bar(name, i.value, i.low, i.high, 0 if name.startswith(MODEL) else 4) for name, i in shown]
    are_fractions = all(0 <= bound <= 1 for _, interval in shown for bound in (interval.low, interval.high))
    parts = (
        [figure(bars(drawn, title=found.main, x_label=found.main), found.main)]
        if are_fractions and len(drawn) > 1
        else []
    )
    return [
        *parts,
        table(
            ["", *(name for name, _ in rows)],
            [[metric, *(_with_span(figures.get(metric)) for _, figures in rows)] for metric in intervals],
            emphasis=list(intervals).index(found.main),
        ),
        paragraph(
            f"In brackets the 95% interval: the middle of {found.num_draws:,} draws of as many examples, with "
            "replacement; differences are of the same draws. It tells how the figure would vary with other examples of "
            "this kind, not with another training run."
        ),
        *([callout(f"No baseline: {found.baselines.missing}.")] if found.baselines.missing else []),
        *_other(found.other, other_file),
    ]


def _other(other: Evaluation | None, file: str) -> list[Markup]:
    if other is None:
        return []
    return [paragraph(f"{file}: {other.num_examples:,} examples of another kind."), *map(_warning, other.warnings)]


def _reliability(found: Findings) -> list[Markup]:
    assert found.reliability is not None
    bins = found.reliability.bins
    rows = [[f"{b.low:.0%} to {b.high:.0%}", f"{b.num:,}", f"{b.confidence:.1%}", f"{b.accuracy:.1%}"] for b in bins]
    return [
        side_by_side(
            figure(
                reliability_diagram(found.reliability, title="Reliability"),
                f"Expected calibration error {found.reliability.ece:.3f}",
                "On the dashed line probabilities are what they say: of the answers given with 80%, 80% are right. "
                "Below it the model is too sure of itself. The darker a bar, the more answers it holds; points are at "
                "their mean probability.",
            ),
            table(["probability", "answers", "mean", "right"], rows),
        ),
        *_tempering(found),
        paragraph(
            "ECE is the mean distance between probability and share right over 15 bins of equal width, weighted by "
            "their answers (Guo et al. 2017). The log loss is the mean of -log p over right answers and of "
            "-log (1 - p) over wrong ones."
        ),
    ]


def _tempering(found: Findings) -> list[Markup]:
    assert found.reliability is not None
    if found.tempering is None:
        said = "No temperature was fitted: the probabilities are the network's own."
        rows = [("as they are", found.reliability)]
    else:
        said = f"Scores are divided by a temperature of {found.tempering.temperature:.3f}, fitted to held-out examples."
        rows = [("without it", found.tempering.before), ("with it", found.reliability)]
    figures = [[name, f"{known.ece:.3f}", f"{known.log_loss:.3f}"] for name, known in rows]
    return [paragraph(said), table(["on these examples", "ECE", "log loss"], figures)]


def _confusion(found: Findings) -> list[Markup]:
    assert found.confusion is not None
    confusion = found.confusion
    pairs = table(["what", "times"], [[f"{a} taken for {b}", f"{count:,}"] for a, b, count in confusion.pairs])
    confused = pairs if confusion.pairs else paragraph("No label was taken for another.")
    if not confusion.can_be_drawn:
        return [
            paragraph(f"{len(confusion.labels)} labels are too many to draw; the most frequent mistakes:"),
            confused,
        ]
    drawing = heat_map(confusion.labels, confusion.counts, title="Confusion")
    caption = "Rows are known labels, columns the given ones; the stronger a cell, the larger its share of the row."
    shown = figure(drawing, "Known and given labels", caption)
    return [side_by_side(shown, confused)] if len(confusion.labels) <= MAX_NUMBERED else [shown, confused]


def _labels(counts: Sequence[LabelCounts]) -> list[Markup]:
    shown = sorted(counts, key=lambda one: one.f1)[:MAX_DRAWN_LABELS] if len(counts) > MAX_DRAWN_LABELS else counts
    numbers = [(one.right, one.missed, one.wrong, one.rest) for one in shown]
    rates = [(one.precision, one.recall, one.f1) for one in shown]
    rows = [
        [one.label, *(f"{count:,}" for count in four), *(f"{rate:.3f}" for rate in three)]
        for one, four, three in zip(shown, numbers, rates, strict=True)
    ]
    left_out = f" The {len(shown)} of {len(counts):,} labels with the lowest F1." if len(shown) < len(counts) else ""
    return [
        table(["label", "right", "missed", "wrongly given", "rightly not given", "precision", "recall", "F1"], rows),
        paragraph(f"Of {counts[0].num:,} decisions.{left_out}"),
    ]


def _slices(part: Slices) -> Markup:
    left_out = f" {part.num_left_out:,} smaller ones are not shown." if part.num_left_out else ""
    rows = [[one.name, f"{one.num:,}", _value(one.figure), _span(one.figure)] for one in part.slices]
    return figure(table(["", "examples", part.figure, "95% interval"], rows), f"By {part.kind}", left_out.strip())


def _mistakes(mistakes: Sequence[Mistake]) -> list[Markup]:
    if not mistakes:
        return [paragraph("Every answer is right.")]
    cards = [
        Example(mistake.texts, (("known", mistake.known), *mistake.given.items(), ("row", mistake.where)), "bad")
        for mistake in mistakes
    ]
    return [paragraph("The least right answers; of equally wrong ones the surest first."), examples(cards)]


def _data(found: Findings) -> list[Markup]:
    evaluation, data = found.evaluation, found.data
    trained_on = "not known" if data.num_trained_on is None else f"{data.num_trained_on:,}"
    conflicts = [
        Example(conflict.texts, (("answers", " / ".join(conflict.answers)), ("rows", "; ".join(conflict.where))))
        for conflict in data.conflicts
    ]
    return [
        table(
            ["what", "how many"],
            [
                ["examples", f"{evaluation.num_examples:,}"],
                ["tokens read", f"{evaluation.num_tokens:,}"],
                ["examples read in several windows", f"{evaluation.num_windowed_examples:,}"],
                ["examples cut", f"{evaluation.num_cut_examples:,}"],
                ["tokens not read", f"{evaluation.num_cut_tokens:,}"],
                ["examples that repeat the texts of another", f"{data.num_repeats:,}"],
                ["examples whose texts have another answer elsewhere", f"{data.num_conflicting:,}"],
                ["examples whose texts were trained on", trained_on],
            ],
        ),
        *([paragraph("Equal texts with different answers:"), examples(conflicts)] if conflicts else []),
    ]


def _warning(text: str) -> Markup:
    return callout(text, "bad")


def _value(interval: Interval) -> str:
    return f"{interval.value:.3f}"


def _span(interval: Interval) -> str:
    """With spaces at which no line breaks."""
    return f"{interval.low:.3f}\xa0to\xa0{interval.high:.3f}"


def _with_span(interval: Interval | None) -> str:
    return "" if interval is None else f"{_value(interval)} ({_span(interval)})"
