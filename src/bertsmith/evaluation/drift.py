"""Whether what a model is asked now is like what it was trained on. Knows rows of numbers, no task and no model.

Every measure has its distance by chance, and all of them together raise a false alarm at the stated rate (Holm 1979),
however few requests there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bertsmith.errors import DataError
from bertsmith.evaluation.two_samples import (
    Array,
    Distance,
    binned,
    count_distance,
    edges_of,
    jensen_shannon,
    stability_index,
    told_apart,
    vector_distance,
)

Index: TypeAlias = Literal["psi", "js", "mmd", "auc"]

SMALL_PSI = 0.1
"""A stability index below this is called no relevant change (Siddiqi 2006, page 137): found, told, and no alarm."""
DRAWS_PER_ALARM = 20
"""Draws by chance among which one alarm is expected; with fewer than measures, no p could be small enough."""
MIN_ROWS = 10
MAX_STRANGE = 10
NUM_POINTS = 60


@dataclass(frozen=True)
class Texts:
    """What the texts of a side are like, a row a request.

    lengths: [n], in tokens, or in characters where the texts are gone. pieces: [n, V] counts of the vocabulary's;
    unknown: which of these is [UNK].
    """

    lengths: NDArray[np.int64]
    unit: str = "tokens"
    pieces: csr_array | None = None
    unknown: int | None = None


@dataclass(frozen=True)
class Decisions:
    """What the model decided about a side's requests: labels of each; [n] confidences, where it has any."""

    labels: Sequence[Sequence[str]]
    confidences: Array | None = None


@dataclass(frozen=True)
class Side:
    """texts, decisions and vectors may be of different requests of the side; None: not to be had."""

    texts: Texts
    decisions: Decisions | None = None
    vectors: Array | None = None


@dataclass(frozen=True, slots=True)
class Shift:
    """One measure. index: the kind of `value`: psi, js (bits), mmd or auc. p: of a value as large by chance.

    usual: what the value reaches by chance in half of all cases; None: not known. then, now: a figure of both sides to
    picture it by, described by `figure`. is_certain: it is not chance; alarm: nor is it small.
    """

    name: str
    index: Index
    value: float
    p: float
    usual: float | None
    figure: str
    then: float
    now: float
    num_then: int
    num_now: int
    is_certain: bool = False
    alarm: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """Of one quantity the share of rows up to each of `xs`, on both sides."""

    name: str
    xs: tuple[float, ...]
    then: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True)
class Drift:
    """alarm_rate: the probability of any alarm where nothing has changed. labels: shares of decisions on both sides.

    strange: places, from 0, of the requests with vectors that are least like those of training, where vectors differ.
    """

    shifts: tuple[Shift, ...]
    alarm_rate: float
    curves: tuple[Curve, ...] = ()
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    strange: tuple[int, ...] = ()

    @property
    def alarm(self) -> bool:
        return any(shift.alarm for shift in self.shifts)


def compare_sides(
    then: Side,
    now: Side,
    *,
    alarm_rate: float = 0.01,
    small_psi: float = SMALL_PSI,
    seed: int = 0,
) -> Drift:
    """Every measure that both sides have. Raises `DataError` for fewer rows than anything can be said of."""
    num_draws = math.ceil(DRAWS_PER_ALARM / alarm_rate)
    for name, side in (("training", then), ("now", now)):
        if len(side.texts.lengths) < MIN_ROWS:
            raise DataError(f"{name}: {len(side.texts.lengths)} requests; drift needs {MIN_ROWS} or more on both sides")
    found = [*_of_texts(then.texts, now.texts, num_draws, seed)]
    shares: dict[str, tuple[float, float]] = {}
    if then.decisions is not None and now.decisions is not None:
        found += _of_decisions(then.decisions, now.decisions, num_draws, seed)
        shares = _label_shares(then.decisions, now.decisions)
    strange: tuple[int, ...] = ()
    if then.vectors is not None and now.vectors is not None:
        apart = told_apart(then.vectors, now.vectors, seed=seed)
        num = len(then.vectors), len(now.vectors)
        distance = vector_distance(then.vectors, now.vectors, num_draws=num_draws, seed=seed)
        middle = then.vectors.mean(axis=0)
        spread = [float(np.linalg.norm(side - middle, axis=1).mean()) for side in (then.vectors, now.vectors)]
        found.append(_shift("vectors", "mmd", distance, "mean distance from the middle of training", spread, num))
        told = Shift("vectors told apart", "auc", apart.auc, apart.p, 0.5, "area under the curve", 0.5, apart.auc, *num)
        found.append(told)
        strange = tuple(np.argsort(-apart.strangeness, kind="stable")[:MAX_STRANGE].tolist())
    judged = _judged(found, alarm_rate, small_psi)
    differ = any(shift.alarm for shift in judged if shift.index in ("mmd", "auc"))
    return Drift(judged, alarm_rate, tuple(_curves(then, now)), shares, strange if differ else ())


def _of_texts(then: Texts, now: Texts, num_draws: int, seed: int) -> Iterator[Shift]:
    assert then.unit == now.unit, "lengths of both sides are counted alike"
    medians = [float(np.median(side.lengths)) for side in (then, now)]
    yield _of_values(f"length in {then.unit}", then.lengths, now.lengths, "median", medians, num_draws, seed)
    if then.pieces is None or now.pieces is None:
        return
    num = then.pieces.shape[0], now.pieces.shape[0]
    totals = [_sums(side.pieces) for side in (then, now) if side.pieces is not None]
    if then.unknown is not None:
        splits = [_split(side.pieces, then.unknown) for side in (then, now) if side.pieces is not None]
        shares = [float(total[then.unknown] / max(1.0, total.sum())) for total in totals]
        # A stability index calls one unknown piece in fifty, where there was none, a small change.
        distance = count_distance(splits[0], splits[1], jensen_shannon, num_draws=num_draws, seed=seed)
        yield _shift("unknown pieces", "js", distance, "share of all pieces", shares, num)
    distance = count_distance(then.pieces, now.pieces, jensen_shannon, num_draws=num_draws, seed=seed)
    common = totals[0] > 0
    known = [float(total[common].sum() / max(1.0, total.sum())) for total in totals]
    yield _shift("pieces", "js", distance, "share of pieces that training has", known, num)


def _of_decisions(then: Decisions, now: Decisions, num_draws: int, seed: int) -> Iterator[Shift]:
    names = {label: place for place, label in enumerate(sorted({x for s in (then, now) for r in s.labels for x in r}))}
    if len(names) > 1:
        counts = [_label_counts(side.labels, names) for side in (then, now)]
        sums = [_sums(side) for side in counts]
        usual = int(np.argmax(sums[0]))
        shares = [float(total[usual] / max(1.0, total.sum())) for total in sums]
        distance = count_distance(counts[0], counts[1], stability_index, num_draws=num_draws, seed=seed)
        figure = f"share of {list(names)[usual]!r}"
        yield _shift("predicted labels", "psi", distance, figure, shares, (len(then.labels), len(now.labels)))
    if then.confidences is not None and now.confidences is not None:
        means = [float(side.mean()) for side in (then.confidences, now.confidences)]
        yield _of_values("confidence", then.confidences, now.confidences, "mean", means, num_draws, seed)


def _of_values(
    name: str,
    then: NDArray[np.int64] | Array,
    now: NDArray[np.int64] | Array,
    figure: str,
    figures: Sequence[float],
    num_draws: int,
    seed: int,
) -> Shift:
    edges = edges_of(np.asarray(then, dtype=float))
    rows = [binned(np.asarray(side, dtype=float), edges) for side in (then, now)]
    distance = count_distance(rows[0], rows[1], stability_index, num_draws=num_draws, seed=seed)
    return _shift(name, "psi", distance, figure, figures, (len(then), len(now)))


def _shift(
    name: str, index: Index, distance: Distance, figure: str, figures: Sequence[float], num: tuple[int, int]
) -> Shift:
    usual = float(np.median(distance.by_chance))
    return Shift(name, index, distance.value, distance.p, usual, figure, figures[0], figures[1], *num)


def _judged(shifts: Sequence[Shift], alarm_rate: float, small_psi: float) -> tuple[Shift, ...]:
    """Holm's way: the k-th smallest p is held against the rate divided by the measures that are left."""
    certain: set[str] = set()
    for place, shift in enumerate(sorted(shifts, key=lambda shift: shift.p)):
        if shift.p > alarm_rate / (len(shifts) - place):
            break
        certain.add(shift.name)
    return tuple(
        replace(
            shift,
            is_certain=shift.name in certain,
            alarm=shift.name in certain and not (shift.index == "psi" and shift.value < small_psi),
        )
        for shift in shifts
    )


def _curves(then: Side, now: Side) -> Iterator[Curve]:
    yield _curve(f"length in {then.texts.unit}", then.texts.lengths, now.texts.lengths)
    sure = [None if side.decisions is None else side.decisions.confidences for side in (then, now)]
    if sure[0] is not None and sure[1] is not None:
        yield _curve("confidence", sure[0], sure[1])


def _curve(name: str, then: NDArray[np.int64] | Array, now: NDArray[np.int64] | Array) -> Curve:
    sides = [np.sort(np.asarray(side, dtype=float)) for side in (then, now)]
    xs = np.linspace(min(side[0] for side in sides), max(side[-1] for side in sides), NUM_POINTS)
    shares = [tuple((np.searchsorted(side, xs, side="right") / len(side)).tolist()) for side in sides]
    return Curve(name, tuple(xs.tolist()), shares[0], shares[1])


def _label_shares(then: Decisions, now: Decisions) -> dict[str, tuple[float, float]]:
    """Of the labels' decisions, those of training first."""
    names = sorted({label for side in (then, now) for row in side.labels for label in row})
    places = {name: place for place, name in enumerate(names)}
    sums = [_sums(_label_counts(side.labels, places)) for side in (then, now)]
    shares = [total / max(1.0, float(total.sum())) for total in sums]
    order = np.argsort(-shares[0], kind="stable").tolist()
    return {names[i]: (float(shares[0][i]), float(shares[1][i])) for i in order}


def _label_counts(labels: Sequence[Sequence[str]], places: Mapping[str, int]) -> csr_array:
    pairs = [(row, places[label]) for row, given in enumerate(labels) for label in given]
    rows, columns = ([pair[i] for pair in pairs] for i in (0, 1))
    return csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(labels), max(1, len(places))))


def _split(pieces: csr_array | None, unknown: int) -> csr_array:
    """[n, 2]: the pieces of each row that are known, and those that are not."""
    assert pieces is not None
    total = np.asarray(pieces.sum(axis=1), dtype=float).ravel()
    without = np.asarray(pieces[:, [unknown]].sum(axis=1), dtype=float).ravel()
    return csr_array(np.stack([total - without, without], axis=1))


def _sums(counts: csr_array) -> Array:
    return np.asarray(counts.sum(axis=0), dtype=float).ravel()
