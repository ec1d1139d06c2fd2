from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from bertsmith.evaluation.calibration import reliability
from bertsmith.evaluation.plots import Bar, Line, Points, bars, curves, heat_map, reliability_diagram, scatter

LINES = [Line("masked tokens", [1, 2, 3], [9.0, 5.0, 3.0]), Line("sentences", [1, 2, 3], [0.7, 0.6, 0.5], series=1)]


def words_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def two_curves() -> str:
    return curves(LINES, title="Loss", x_label="optimizer step", y_label="loss, nats")


def test_a_plot_is_whole_xml_with_axes_and_direct_labels(two_curves: str) -> None:
    words = words_of(two_curves.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert {"optimizer step", "loss, nats", "masked tokens", "sentences"} <= set(words)


def test_colours_are_the_page_s(two_curves: str) -> None:
    assert not re.search(r"#(0[123]|[1-5][1-5])0[0-3]0[0-3]\b", two_curves)
    assert {"var(--ink)", "var(--series-0)", "var(--series-1)"} <= set(re.findall(r"var\(--[\w-]+\)", two_curves))


def test_equal_input_gives_equal_bytes_and_titles_keep_ids_apart(two_curves: str) -> None:
    again = curves(LINES, title="Loss", x_label="optimizer step", y_label="loss, nats")
    other = curves(LINES, title="Other", x_label="optimizer step", y_label="loss, nats")
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (two_curves, again, other)]
    assert again == two_curves
    assert ids[0] == ids[1]
    assert ids[0].isdisjoint(ids[2])


def test_nothing_is_loaded_from_elsewhere(two_curves: str) -> None:
    assert set(re.findall(r"https?://[^\"' ]+", two_curves)) == {"http://www.w3.org/1999/xlink"}


def test_lines_that_end_together_have_labels_apart() -> None:
    svg = curves(
        [
            Line("one", [0, 1], [0.0, 0.5]),
            Line("two", [0, 1], [1.0, 0.5]),
            Line("chance", [0, 1], [0.5, 0.5], dashed=True),
        ],
        title="Together",
        x_label="step",
        y_label="accuracy",
        percent=True,
    )
    places = {
        name: float(y) for y, name in re.findall(r'<text [^>]*?y="([\d.]+)"[^>]*>(one|two|chance)</text>', svg)
    } or {
        name: float(y)
        for y, name in re.findall(r"<text [^>]*translate\([\d.]+ ([\d.]+)\)[^>]*>(one|two|chance)</text>", svg)
    }
    heights = sorted(places.values())
    assert len(heights) == 3
    assert min(b - a for a, b in pairwise(heights)) > 9


def test_bars_carry_their_values_and_names() -> None:
    svg = bars(
        [Bar("ours & theirs", 0.761, 0.72, 0.8), Bar("majority", 0.5, series=4)], title="Pairs", x_label="accuracy"
    )
    words = words_of(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert {"ours & theirs", "76.1%", "majority", "50.0%", "100%"} <= set(words)


def test_points_stand_where_their_values_are_on_either_scale() -> None:
    def places(*, is_log: bool) -> list[float]:
        points = Points([1e-4, 1e-3, 1e-2], [0.5, 0.6, 0.7])
        svg = scatter([points], title="t", x_label="rate", y_label="f1", is_log=is_log)
        uses = re.findall(r'<use xlink:href="#[^"]+" x="([\d.]+)" y="[\d.]+" style="fill: var\(--series-0\)', svg)
        assert {"rate", "f1"} <= set(words_of(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)))
        return [float(x) for x in uses]

    first, second, third = places(is_log=True)
    assert second - first == pytest.approx(third - second)
    first, second, third = places(is_log=False)
    assert third - second == pytest.approx(10 * (second - first), rel=1e-3)


def test_choices_are_named_below_their_points() -> None:
    points = [Points([0, 1], [0.5, 0.6], is_hollow=True), Points([1], [0.6], is_large=True)]
    svg = scatter(points, title="t", x_label="train", y_label="f1", names=["all", "lora"])
    assert {"all", "lora"} <= set(words_of(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)))
    assert "fill: var(--paper)" in svg


def test_a_map_has_its_labels_and_the_counts_of_few() -> None:
    svg = heat_map(["good", "bad & worse"], [[41, 2], [0, 7]], title="Confusion")
    words = words_of(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert words.count("bad & worse") == 2
    assert {"41", "2", "7", "known", "given"} <= set(words)
    assert "0" not in words
    many = [f"label {i}" for i in range(20)]
    counts = [[7 * (i == j) for i in range(20)] for j in range(20)]
    words = words_of(
        heat_map(many, counts, title="Many").replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    )
    assert "7" not in words
    assert words.count("label 19") == 2


def test_a_reliability_diagram_has_a_bar_for_every_bin_with_answers() -> None:
    found = reliability(np.array([0.1, 0.5, 0.9]), np.array([0, 1, 1]))
    svg = reliability_diagram(found, title="Reliability")
    assert svg.count("var(--series-0)") == len(found.bins) == 3
    assert "probability of the answer" in svg
