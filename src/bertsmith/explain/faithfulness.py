"""How far an explanation can be believed: what happens to the prediction when the words that it names are taken away.

Comprehensiveness and sufficiency as DeYoung et al. 2020 (ERASER, section 4), with [MASK] for what is taken away, beside
the same for words in a random order. Knows scores of words and a function of the words that stay. Shapes: W words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of the words, that are taken away or left alone; figures are means over them."""
LEAST_LOSS = 0.01
"""Of the likelihood: what loses less does not rest on the words that were taken away."""
Likelihoods: TypeAlias = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""bool [k, W], the words that stay -> [k], how likely the explained prediction then is."""


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """likelihood: of the prediction. comprehensiveness: what it loses without the words named first; more is better.
    sufficiency: what it loses with them alone; less is better. random_...: the means of words in random orders,
    num_random of them.

    beaten: the share of random orders whose words taken away cost less; None without any, or where no order can differ.
    """

    likelihood: float
    comprehensiveness: float
    sufficiency: float
    random_comprehensiveness: float | None = None
    random_sufficiency: float | None = None
    num_random: int = 0
    beaten: float | None = None

    @property
    def verdict(self) -> str:
        """A sentence for people: what a picture of the scores may claim."""
        if self.beaten is None:
            return "Not compared with chance: there is one word alone, or no random order was asked for."
        if abs(self.comprehensiveness) < LEAST_LOSS * abs(self.likelihood):
            return (
                "Hardly anything changes without the words named first: what the model says of this text does not rest "
                "on a few of its words."
            )
        of = f"{self.num_random} random orders"
        share = f"all of {of}" if self.beaten == 1 else f"{self.beaten:.0%} of {of}"
        if self.beaten >= 0.9:
            return f"Without the words named first the prediction loses more than in {share}."
        if self.beaten > 0.5:
            return f"Weak: without the words named first the prediction loses more than in {share}; read with care."
        return (
            f"Not shown: without the words named first the prediction loses more than in {share} only; "
            "this explanation does not say what the prediction rests on."
        )


def faithfulness(
    likelihoods: Likelihoods, scores: NDArray[np.float64], *, num_random: int = 10, seed: int = 0
) -> Faithfulness:
    """Of words in the order of their scores, highest first, equal ones as they stand; against random orders."""
    num_words = len(scores)
    rng = np.random.default_rng(seed)
    orders = [np.argsort(-scores, kind="stable"), *(rng.permutation(num_words) for _ in range(num_random))]
    counts = [max(1, int(np.ceil(share * num_words))) for share in SHARES]
    whole, without, alone = _losses(likelihoods, orders, counts)
    if num_words == 1 or not num_random:
        return Faithfulness(whole, float(without[0]), float(alone[0]))
    return Faithfulness(
        whole,
        float(without[0]),
        float(alone[0]),
        float(without[1:].mean()),
        float(alone[1:].mean()),
        num_random,
        float((without[0] > without[1:]).mean()),
    )


def _losses(
    likelihoods: Likelihoods, orders: Sequence[NDArray[np.int64]], counts: Sequence[int]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """The likelihood of all words; [orders], what is lost without the first words of each order, and with them alone.

    Means over `counts`.
    """
    num_words = len(orders[0])
    places: dict[bytes, int] = {}
    different: list[NDArray[np.bool_]] = []

    def place_of(kept: NDArray[np.bool_]) -> int:
        """Of few words many masks are the same; each is asked about once."""
        if kept.tobytes() not in places:
            places[kept.tobytes()] = len(different)
            different.append(kept)
        return places[kept.tobytes()]

    whole = place_of(np.ones(num_words, dtype=np.bool_))
    asked = np.empty((2, len(orders), len(counts)), dtype=np.int64)
    for row, order in enumerate(orders):
        for column, count in enumerate(counts):
            chosen = np.zeros(num_words, dtype=np.bool_)
            chosen[order[:count]] = True
            asked[:, row, column] = place_of(~chosen), place_of(chosen)
    found = likelihoods(np.array(different))
    without, alone = (found[whole] - found[asked]).mean(-1)
    return float(found[whole]), without, alone
