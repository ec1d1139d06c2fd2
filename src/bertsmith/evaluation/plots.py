"""Curves, bars and maps as SVG for a page: colours are the page's, labels beside what they name. Knows numbers only.

The same input gives the same bytes, whatever the user's matplotlib settings.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertsmith.evaluation.calibration import Reliability
from bertsmith.evaluation.report import Markup
from bertsmith.runtime.progress import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NUMBERED, LABEL_CHARACTERS = 12, 22  # labels of a map whose cells hold their counts; characters of one
WIDTH_INCHES = 4.8  # Set in points on a page: letters keep their size from a phone's width up.
# matplotlib wants colours, a page that is light or dark wants variables: each stand-in is replaced in the finished SVG.
INK, FAINT, PAPER = "#010101", "#020202", "#030303"
SERIES = ("#110000", "#220000", "#330000", "#440000", "#550000")
VARIABLES = {INK: "ink", FAINT: "faint", PAPER: "paper"} | {
    color: f"series-{place}" for place, color in enumerate(SERIES)
}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.6,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A curve and its name. `dashed` is for references such as chance; `series` picks one of five colours."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    series: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A value and its name; `low` and `high` bound it where they are known."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    series: int = 0


@dataclass(frozen=True, slots=True)
class Points:
    """Single results, filled or hollow, small or large."""

    xs: Sequence[float]
    ys: Sequence[float]
    is_hollow: bool = False
    is_large: bool = False


def curves(
    lines: Sequence[Line], *, title: str, x_label: str, y_label: str, percent: bool = False, whole: bool = True
) -> Markup:
    """Lines over a common axis, each named at its right end.

    percent: the y axis holds fractions. whole: the x axis counts something.
    """
    assert lines, "a plot needs at least one line"

    def draw(axes: Axes) -> None:
        for line in lines:
            if line.dashed:
                axes.plot(line.xs, line.ys, color=FAINT, linewidth=1.0, linestyle=(0, (4, 3)))
            else:
                axes.plot(line.xs, line.ys, color=SERIES[line.series])
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if whole else f"{value:g}")
        axes.xaxis.set_major_locator(_few_ticks(whole))
        if percent:
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.margins(x=0)
        _name_at_the_end(axes, lines)

    return _svg(draw, title, height_inches=3.0)


def scatter(
    groups: Sequence[Points], *, title: str, x_label: str, y_label: str, is_log: bool = False, names: Sequence[str] = ()
) -> Markup:
    """Points over a common axis, logarithmic or not; with `names`, the xs are places among them."""
    assert groups, "a plot needs at least one group of points"

    def draw(axes: Axes) -> None:
        for points in groups:
            color = SERIES[1] if points.is_large else SERIES[0]
            size = 9 if points.is_large else 5
            fill = PAPER if points.is_hollow else color
            axes.plot(points.xs, points.ys, "o", markersize=size, color=color, markerfacecolor=fill, alpha=0.85)
        axes.set(xlabel=x_label, ylabel=y_label)
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
        if names:
            axes.set_xticks(range(len(names)), [shorten(name, LABEL_CHARACTERS) for name in names])
            axes.set_xlim(-0.5, len(names) - 0.5)

    return _svg(draw, title, height_inches=3.0)


def bars(items: Sequence[Bar], *, title: str, x_label: str) -> Markup:
    """Horizontal bars of fractions with their intervals, values and axis as percentages."""
    assert items, "a plot needs at least one bar"

    def draw(axes: Axes) -> None:
        for place, item in enumerate(items):
            axes.barh(place, item.value, height=0.42, color=SERIES[item.series], linewidth=0)
            axes.annotate(item.name, (0, place - 0.24), (0, 2), textcoords="offset points", va="bottom")
            end = item.value
            if item.low is not None and item.high is not None:
                axes.plot([item.low, item.high], [place, place], color=INK, linewidth=1.2, solid_capstyle="butt")
                end = max(end, item.high)
            axes.annotate(f"{item.value:.1%}", (end, place), (4, 0), textcoords="offset points", va="center")
        axes.set(xlabel=x_label, xlim=(0, 1), ylim=(len(items) - 0.65, -0.75), yticks=())
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")

    return _svg(draw, title, height_inches=0.6 + 0.45 * len(items))


def reliability_diagram(found: Reliability, *, title: str) -> Markup:
    """The share right in each bin of probabilities, beside the diagonal on which believable ones lie.

    The darker a bar, the more decisions it stands for.
    """
    assert found.bins, "a plot needs at least one bin"
    most = max(part.num for part in found.bins)

    def draw(axes: Axes) -> None:
        for part in found.bins:
            place, width = (part.low + part.high) / 2, 0.86 * (part.high - part.low)
            axes.bar(place, part.accuracy, width, color=SERIES[0], alpha=0.3 + 0.7 * part.num / most, linewidth=0)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        means = [part.confidence for part in found.bins]
        axes.plot(means, [part.accuracy for part in found.bins], ".", color=SERIES[1], markersize=6)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the answer", ylabel="share right")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:.0%}")

    return _svg(draw, title, height_inches=3.4)


def heat_map(labels: Sequence[str], counts: Sequence[Sequence[int]], *, title: str) -> Markup:
    """A confusion matrix: known labels down, given ones across; a cell's strength is its share of its row."""
    num, longest = len(labels), max(map(len, labels))
    size = 9.5 if num <= 12 else max(4.5, 9.5 * 14 / num)

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        cells = [(x, y, count, sum(row)) for y, row in enumerate(counts) for x, count in enumerate(row) if count]
        for x, y, count, total in cells:
            color = SERIES[0] if x == y else SERIES[1]
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=color, alpha=count / total, linewidth=0))
            if num <= MAX_NUMBERED:
                ink = PAPER if count / total > 0.6 else INK
                axes.text(x + 0.5, y + 0.5, f"{count:,}", ha="center", va="center", fontsize=size, color=ink)
        places = [place + 0.5 for place in range(num)]
        names = [shorten(label, LABEL_CHARACTERS) for label in labels]
        axes.set(xlim=(0, num), ylim=(num, 0), xlabel="given", ylabel="known")
        axes.set_xticks(places, names, rotation=0 if longest * num <= 40 else 90, fontsize=size)
        axes.set_yticks(places, names, fontsize=size)
        axes.tick_params(length=0)
        axes.grid(visible=False)

    return _svg(draw, title, height_inches=min(5.2, 1.3 + 0.45 * num))


def _few_ticks(whole: bool) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, integer=whole)


def _name_at_the_end(axes: Axes, lines: Sequence[Line]) -> None:
    """Names right of the last points, moved apart where they would touch."""
    low, high = axes.get_ylim()
    step = (high - low) * 0.075
    order = sorted(lines, key=lambda line: line.ys[-1])
    places: list[float] = []
    for line in order:
        places.append(max(line.ys[-1], places[-1] + step) if places else line.ys[-1])
    overshoot = max(0.0, places[-1] - high)
    for line, place in zip(order, places, strict=True):
        end = max(line.xs[-1] for line in lines)
        color = INK if line.dashed else SERIES[line.series]
        axes.annotate(
            line.name,
            (end, place - overshoot),
            (5, 0),
            textcoords="offset points",
            va="center",
            color=color,
            annotation_clip=False,
        )


def _svg(draw: Callable[[Axes], None], title: str, height_inches: float) -> Markup:
    from matplotlib import style
    from matplotlib.figure import Figure

    salt = hashlib.sha256(title.encode()).hexdigest()[:12]
    with style.context(["default", STYLE | {"svg.hashsalt": salt}]):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _for_a_page(buffer.getvalue(), title, VARIABLES)


def _for_a_page(svg: str, title: str, variables: Mapping[str, str]) -> Markup:
    """matplotlib's file as an element of a page: no prolog, no fixed size, no ids that nothing refers to."""
    from html import escape

    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    view_box = re.search(r'viewBox="[^"]*"', body)
    assert view_box is not None
    head = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view_box[0]} role="img" aria-label="{escape(title)}">'
    body = re.sub(r"<svg[^>]*>", head, body, count=1)
    for color, name in variables.items():
        body = body.replace(color, f"var(--{name})")
    return Markup(body)
