"""What a user might like next, from the reviews that the user wrote and liked, and the reviews that say so.

    python examples/review_analysis/recommend.py runs/reviews/reviews.jsonl "user 8" --encoder MODEL

Shapes: n reviews, oldest first; i items; H width of a vector.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from reviews import Review, Vectors, read_reviews, unit

import bertsmith
from bertsmith.errors import BertsmithError, DataError, nearest

Scores: TypeAlias = NDArray[np.floating]
HALF_LIFE_DAYS = 180.0


@dataclass(frozen=True)
class Recommendation:
    """because: the user's own review that adds most to the score; like: what others say of the item nearest to it."""

    item: str
    score: float
    because: Review
    like: Review


class Reviews:
    """Reviews and their vectors, and what may be known of them on a day.

    vectors: [n, H] of length 1, without the mean of all: what every review has in common tells no taste from another.
    """

    def __init__(self, reviews: Sequence[Review], vectors: Vectors):
        self.reviews = reviews
        self.vectors = unit(vectors - vectors.mean(axis=0))
        self.items = sorted({review.item for review in reviews})
        self.users = sorted({review.user for review in reviews})
        item_number = {item: i for i, item in enumerate(self.items)}
        user_number = {user: i for i, user in enumerate(self.users)}
        self.item = np.array([item_number[review.item] for review in reviews])
        self.user = np.array([user_number[review.user] for review in reviews])
        self.day = np.array([review.day for review in reviews])
        self.liked = np.array([review.liked for review in reviews])

    def by(self, user: str) -> int:
        if user not in self.users:
            raise DataError(f"no reviews by {user!r}; {nearest(user, self.users)}")
        return self.users.index(user)

    def liked_by_others(self, user: int, day: float) -> NDArray[np.bool_]:
        """[n], what others have liked before `day`: all that may recommend an item to the user."""
        known: NDArray[np.bool_] = (self.day < day) & (self.user != user) & self.liked
        return known

    def by_user(self, user: int, day: float) -> NDArray[np.bool_]:
        known: NDArray[np.bool_] = (self.day < day) & (self.user == user)
        return known

    def item_vectors(self, known: NDArray[np.bool_]) -> Vectors:
        """[i, H]: the mean of each item's `known` reviews, of length 1; zeros for an item that has none."""
        members = (self.item == np.arange(len(self.items))[:, None]) & known
        return unit(members.astype(np.float32) @ self.vectors)

    def weights(self, user: int, day: float, half_life_days: float) -> Scores:
        """[n]: 1 for what the user liked on `day`, half of it a half-life before, 0 for all else."""
        mine = self.by_user(user, day) & self.liked
        aged: Scores = np.where(mine, 0.5 ** ((day - self.day) / half_life_days), 0.0)
        return aged

    def by_profile(self, user: int, day: float, half_life_days: float) -> Scores:
        """[i]: the cosine of each item and the user's profile, the weighed sum of the reviews that were liked."""
        profile = unit(self.weights(user, day, half_life_days).astype(np.float32) @ self.vectors)
        scores: Scores = self.item_vectors(self.liked_by_others(user, day)) @ profile
        return scores

    def by_popularity(self, user: int, day: float) -> Scores:
        """[i]: how many others have liked each item before `day`."""
        return np.bincount(self.item[self.liked_by_others(user, day)], minlength=len(self.items)).astype(float)

    def not_new(self, user: int, day: float) -> NDArray[np.intp]:
        """The items that the user has reviewed already."""
        return np.unique(self.item[self.by_user(user, day)])


def recommend(
    reviews: Reviews, user: str, *, num: int = 3, half_life_days: float = HALF_LIFE_DAYS
) -> list[Recommendation]:
    """The `num` items nearest to the profile of `user` the day after the last review, best first; all new to the user.

    Raises `DataError` for a user who has liked nothing: there is no profile then, and what is popular has to do.
    """
    number, day = reviews.by(user), float(reviews.day.max()) + 1
    weights = reviews.weights(number, day, half_life_days)
    if not weights.any():
        raise DataError(f"{user!r} has liked nothing yet, so there is no profile; recommend what is popular instead")
    scores = reviews.by_profile(number, day, half_life_days)
    scores[reviews.not_new(number, day)] = -np.inf
    others = reviews.liked_by_others(number, day)
    there = np.intersect1d(reviews.item[others], np.flatnonzero(np.isfinite(scores)))
    return [
        _explained(reviews, int(item), float(scores[item]), weights, others)
        for item in there[np.argsort(-scores[there], kind="stable")[:num]]
    ]


def _explained(reviews: Reviews, item: int, score: float, weights: Scores, others: NDArray[np.bool_]) -> Recommendation:
    """The score is a sum over the reviews that the user liked, so the largest part of it is a reason and no guess."""
    places = np.flatnonzero(others & (reviews.item == item))
    parts = weights * (reviews.vectors @ reviews.vectors[places].mean(axis=0))
    because = int(parts.argmax())
    like = places[int((reviews.vectors[places] @ reviews.vectors[because]).argmax())]
    return Recommendation(reviews.items[item], score, reviews.reviews[because], reviews.reviews[like])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reviews", type=Path, help="table of reviews")
    parser.add_argument("user", help="for whom")
    parser.add_argument("--encoder", type=Path, required=True, help="model that makes vectors")
    parser.add_argument("--num", type=int, default=3)
    parser.add_argument("--half-life-days", type=float, default=HALF_LIFE_DAYS, help="after which a review counts half")
    asked = parser.parse_args(arguments)
    read = read_reviews(asked.reviews)
    reviews = Reviews(read, bertsmith.load(asked.encoder).embed([review.text for review in read]))
    for found in recommend(reviews, asked.user, num=asked.num, half_life_days=asked.half_life_days):
        print(f"{found.item} ({found.score:.2f})")
        print(f"  because {asked.user} wrote of {found.because.item}: {found.because.text}")
        print(f"  and {found.like.user} writes of it: {found.like.text}")


if __name__ == "__main__":
    try:
        main()
    except BertsmithError as error:
        raise SystemExit(f"error: {error}") from None
