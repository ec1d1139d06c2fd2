"""The page of a probe: what each layer knows, and what memory alone would. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bertsmith.evaluation.intervals import Interval
from bertsmith.evaluation.plots import Line, curves
from bertsmith.evaluation.probe import LayerProbe, Probing
from bertsmith.evaluation.report import Markup, Page, callout, figure, paragraph, table, tiles


def probe_page(found: Probing, *, model: str, data: str, warnings: Sequence[str] = ()) -> Page:
    """model, data: what they are called."""
    best, metric = found.best, found.metric
    page = Page(f"What the layers of {model} know", f"{found.task.replace('_', ' ')}, {data}")
    page.section(
        "In short",
        tiles(
            [
                (
                    f"{best.metrics[metric].value:.3f}",
                    f"{metric} of the best, {best.name}, {_span(best.metrics[metric])}",
                ),
                (f"{best.selectivity.value:.3f}", f"its selectivity, {_span(best.selectivity)}"),
                *(
                    (f"{value.value:.3f}", f"{metric} of the baseline {name}")
                    for name, value in found.baselines.items()
                ),
                (f"{found.num_train_decisions:,}", f"decisions learned from, of {found.num_train_examples:,} examples"),
                (f"{found.num_test_decisions:,}", f"decisions judged, of {found.num_test_examples:,} examples"),
            ]
        ),
        *(callout(text, "bad") for text in (*warnings, *found.warnings)),
    )
    page.section("Layer by layer", *_curves(found), _table(found), paragraph(_EXPLAINED))
    return page


def _curves(found: Probing) -> list[Markup]:
    places = [float(place) for place in range(len(found.layers))]
    whole = [places[0], places[-1]]
    lines = [
        Line("probe", places, [layer.accuracy.value for layer in found.layers]),
        Line("control", places, [layer.control.value for layer in found.layers], series=1),
        Line("majority", whole, [found.majority.value] * 2, dashed=True),
    ]
    drawings = [
        figure(
            curves(lines, title="Accuracy by layer", x_label="layer; 0: embeddings", y_label="accuracy", percent=True),
            "Accuracy of the decisions",
            "Control: the same probe for labels drawn at random for each word.",
        )
    ]
    if found.metric == "accuracy":
        return drawings
    values = [layer.metrics[found.metric].value for layer in found.layers]
    lines = [Line("probe", places, values)]
    lines += [Line(name, whole, [value.value] * 2, dashed=True) for name, value in found.baselines.items()]
    title = f"{found.metric} by layer"
    drawn = curves(lines, title=title, x_label="layer; 0: embeddings", y_label=found.metric)
    return [*drawings, figure(drawn, title)]


def _table(found: Probing) -> Markup:
    names = found.shown
    head = ["", *names, "accuracy", "control", "selectivity"]
    return table(head, [_row(layer, names) for layer in found.layers], emphasis=found.layers.index(found.best))


def _row(layer: LayerProbe, names: Sequence[str]) -> list[str]:
    values = [*(layer.metrics[name] for name in names), layer.accuracy, layer.control, layer.selectivity]
    return [layer.name, *(f"{value.value:.3f} ({_span(value)})" for value in values)]


def _span(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


_EXPLAINED = (
    "A probe is a logistic regression on the standardized states of one layer; the encoder does not learn. Its control "
    "learns, from the same states, labels that were drawn at random for each word (of a text: for its first word), "
    "which only memory can solve (Hewitt and Liang 2019). Selectivity is the accuracy minus that of the control: where "
    "it is small, the probe says more of itself than of the layer. In brackets the 95% interval, over examples drawn "
    "again."
)
