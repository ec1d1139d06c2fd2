"""Are recommendations any good? Each user's last liked item is hidden, and must be found from what came before.

    python examples/review_analysis/leave_last_out.py runs/reviews/reviews.jsonl --encoder MODEL

Nothing from that day on is known: not the review itself, not what others have written of the item since
(the one exception: the mean of all vectors, which is taken off each).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from recommend import Reviews, Scores
from reviews import read_reviews

import bertsmith
from bertsmith.errors import BertsmithError, DataError
from bertsmith.evaluation.intervals import Interval, mean_interval

TOP = 10
HALF_LIVES_DAYS = (30.0, 60.0, 120.0, 240.0, 480.0)
FEWEST_LIKED = 3
"""Who has liked less has no profile to speak of, and takes no part."""


@dataclass(frozen=True)
class Hidden:
    """What a user liked on a day, to be found among the items that were new to the user then."""

    user: int
    item: int
    day: float


@dataclass(frozen=True)
class Found:
    """Means over the users, with 95% intervals from drawing users again."""

    hit_rate: Interval
    ndcg: Interval
    mrr: Interval
    num_users: int


def hidden(reviews: Reviews, back: int = 1) -> list[Hidden]:
    """Of each user with enough of them the last liked review, or that `back` - 1 before it."""
    found = []
    for user in range(len(reviews.users)):
        liked = np.flatnonzero((reviews.user == user) & reviews.liked)
        if len(liked) < FEWEST_LIKED + back - 1 or reviews.day[liked[-back]] == reviews.day[liked[0]]:
            continue
        place = liked[-back]
        case = Hidden(user, int(reviews.item[place]), float(reviews.day[place]))
        if case.item not in reviews.not_new(user, case.day):
            found.append(case)
    if not found:
        raise DataError(f"no user has liked {FEWEST_LIKED + back - 1} items on different days")
    return found


def ranks(reviews: Reviews, cases: Sequence[Hidden], score: Callable[[Hidden], Scores]) -> NDArray[np.intp]:
    """The rank from 1 of each hidden item among those new to the user; equal scores stand in an order by lot."""
    lots = np.random.default_rng(0)
    found = []
    for case in cases:
        scores = np.array(score(case), dtype=float)
        scores[reviews.not_new(case.user, case.day)] = -np.inf
        order = np.lexsort((lots.random(len(scores)), -scores))
        found.append(int(np.flatnonzero(order == case.item)[0]) + 1)
    return np.array(found)


def figures(found: NDArray[np.intp]) -> Found:
    """One item is right, so nDCG@10 is 1 / log2(rank + 1) within the first ten."""
    within = found <= TOP
    gains = np.where(within, 1 / np.log2(found + 1), 0.0)
    return Found(mean_interval(within.astype(float)), mean_interval(gains), mean_interval(1 / found), len(found))


def best_half_life(reviews: Reviews) -> float:
    """The half-life that finds the last liked item but one best: the last one has no part in the choice."""
    cases = hidden(reviews, back=2)

    def mrr(days: float) -> float:
        return float(np.mean(1 / ranks(reviews, cases, lambda case: reviews.by_profile(case.user, case.day, days))))

    return max(HALF_LIVES_DAYS, key=mrr)


def leave_last_out(reviews: Reviews, half_life_days: float) -> dict[str, Found]:
    """By the name of each way to recommend, how well it does; for all of them the same users, items and days."""
    cases = hidden(reviews)
    nobody = np.zeros(len(reviews.items))
    ways: dict[str, Callable[[Hidden], Scores]] = {
        "by lot": lambda case: nobody,
        "popularity": lambda case: reviews.by_popularity(case.user, case.day),
        "profile, without decay": lambda case: reviews.by_profile(case.user, case.day, np.inf),
        "profile": lambda case: reviews.by_profile(case.user, case.day, half_life_days),
        "profile and popularity": lambda case: _fused(
            reviews.by_profile(case.user, case.day, half_life_days), reviews.by_popularity(case.user, case.day)
        ),
    }
    return {name: figures(ranks(reviews, cases, score)) for name, score in ways.items()}


def _fused(*scores: Scores) -> Scores:
    """Reciprocal rank fusion (Cormack et al. 2009), equal scores at equal ranks."""
    places = [np.unique(-score, return_inverse=True)[1] for score in scores]
    fused: Scores = np.sum([1 / (60 + place) for place in places], axis=0)
    return fused


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reviews", type=Path, help="table of reviews")
    parser.add_argument("--encoder", type=Path, required=True, help="model that makes vectors")
    asked = parser.parse_args(arguments)
    read = read_reviews(asked.reviews)
    reviews = Reviews(read, bertsmith.load(asked.encoder).embed([review.text for review in read]))
    days = best_half_life(reviews)
    found = leave_last_out(reviews, days)
    print(f"half-life {days:g} days, chosen by the liked items before the last; {found['profile'].num_users} users")
    print(f"| way | hit rate@{TOP} | nDCG@{TOP} | MRR |\n| --- | --- | --- | --- |")
    for name, figure in found.items():
        print(f"| {name} | {cell(figure.hit_rate)} | {cell(figure.ndcg)} | {cell(figure.mrr)} |")


def cell(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


if __name__ == "__main__":
    try:
        main()
    except BertsmithError as error:
        raise SystemExit(f"error: {error}") from None
