"""Writes reviews in which everything is known: who likes what, which aspect is good where, what a place is known for.

    python examples/review_analysis/write_reviews.py --output-dir runs/reviews

A file of reviews, three of sentences with the aspects that they judge, and `truth.json`, for measuring alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from review_words import (
    ASPECTS,
    BAD,
    GOOD,
    KITCHENS,
    NEW_BAD,
    NEW_GOOD,
    NEW_ONE,
    NEW_TWO,
    NONE,
    ONE,
    PECULIARITIES,
    TWO,
)

FIRST_DAY, NUM_DAYS = date(2023, 1, 1), 730
LOYALTY = 0.75
"""How often a user goes where the own taste leads, instead of where people go."""


@dataclass(frozen=True)
class Restaurant:
    """popularity: how much likelier it is visited than others. good: by aspect, the chance of a good experience."""

    name: str
    kitchen: str
    dishes: tuple[str, ...]
    peculiarity: str
    popularity: float
    good: Mapping[str, float]


@dataclass(frozen=True)
class User:
    """tastes: kitchens that are loved in the first half of the time; later_tastes: in the second."""

    name: str
    tastes: tuple[str, str]
    later_tastes: tuple[str, str]


@dataclass
class World:
    """Restaurants, users and what they wrote; `sentences`: (text, labels) of all reviews of each restaurant."""

    restaurants: list[Restaurant]
    users: list[User]
    reviews: list[dict[str, Any]] = field(default_factory=list)
    sentences: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sentence:
    text: str
    labels: tuple[str, ...] = ()


def make_world(seed: int, num_users: int, restaurants_per_kitchen: int, changing_fraction: float = 0.5) -> World:
    """The same for the same arguments. changing_fraction: the chance that a user's tastes change after a year."""
    rng = Random(seed)
    users = [_user(rng, f"user {i + 1}", changing_fraction) for i in range(num_users)]
    world = World(_restaurants(rng, restaurants_per_kitchen), users)
    for user in world.users:
        _visits(rng, user, world)
    world.reviews.sort(key=lambda review: (review["date"], review["user"]))
    return world


def _restaurants(rng: Random, per_kitchen: int) -> list[Restaurant]:
    found = []
    for kitchen, dishes in KITCHENS.items():
        for i in range(per_kitchen):
            good = {aspect: rng.choice((0.15, 0.5, 0.85)) for aspect in ASPECTS}
            peculiarity, known_for = rng.choice(PECULIARITIES), tuple(rng.sample(dishes, 3))
            popularity = rng.paretovariate(1.2)
            found.append(Restaurant(f"{kitchen} {i + 1}", kitchen, known_for, peculiarity, popularity, good))
    return found


def _user(rng: Random, name: str, changing_fraction: float) -> User:
    one, two, three, four = rng.sample(list(KITCHENS), 4)
    return User(name, (one, two), (three, four) if rng.random() < changing_fraction else (one, two))


def _visits(rng: Random, user: User, world: World) -> None:
    """8 to 16 visits to different restaurants, a review of each."""
    days = sorted(rng.sample(range(NUM_DAYS), rng.randint(8, 16)))
    left = list(world.restaurants)
    for day in days:
        tastes = user.tastes if day < NUM_DAYS / 2 else user.later_tastes
        loved = [place for place in left if place.kitchen in tastes]
        among = loved if loved and rng.random() < LOYALTY else left
        place = rng.choices(among, [place.popularity for place in among])[0]
        left.remove(place)
        stars, sentences = _experience(rng, place, place.kitchen in tastes)
        world.sentences.setdefault(place.name, []).extend(asdict(sentence) for sentence in sentences)
        world.reviews.append(
            {
                "user": user.name,
                "item": place.name,
                "date": (FIRST_DAY + timedelta(days=day)).isoformat(),
                "stars": stars,
                "text": " ".join(sentence.text for sentence in sentences),
            }
        )


def _experience(rng: Random, place: Restaurant, loved: bool) -> tuple[int, list[Sentence]]:
    """Stars and sentences of one visit: who loves the kitchen mostly likes what is served."""
    is_good = {aspect: rng.random() < chance for aspect, chance in place.good.items()}
    is_good["food"] = rng.random() < (0.9 if loved else 0.25)
    dish, other = rng.sample(place.dishes, 2)
    sentences = [about(rng, {"food": is_good["food"]}, dish), Sentence(f"I had {other} too.")]
    judged = rng.sample([aspect for aspect in ASPECTS if aspect != "food"], 2)
    if is_good[judged[0]] != is_good[judged[1]]:
        sentences.append(about(rng, {aspect: is_good[aspect] for aspect in judged}))
    else:
        sentences += [about(rng, {aspect: is_good[aspect]}) for aspect in judged]
    if rng.random() < 0.5:
        sentences.append(Sentence(f"They have {place.peculiarity}."))
    if rng.random() < 0.5:
        sentences.append(Sentence(rng.choice(NONE)))
    num_good = sum(is_good[aspect] for aspect in judged)
    return (3 + num_good if is_good["food"] else 1 + num_good), sentences


def about(rng: Random, is_good: Mapping[str, bool], dish: str = "", *, new: bool = False) -> Sentence:
    """A sentence that judges one aspect, or two of which one is good. new: in words that are kept from training."""
    forms = (NEW_ONE, NEW_TWO) if new else (ONE, TWO)
    words: dict[str, str] = {}
    for names, (aspect, good) in zip(("ax", "by"), is_good.items(), strict=False):
        parts = ASPECTS[aspect]
        if new:
            subjects, said = parts.new_subjects, (parts.new_good + NEW_GOOD if good else parts.new_bad + NEW_BAD)
        else:
            subjects, said = parts.subjects or (dish,), (parts.good + GOOD if good else parts.bad + BAD)
        words |= {names[0]: rng.choice(subjects), names[1]: rng.choice(said)}
    text = rng.choice(forms[len(is_good) - 1]).format(**words)
    return Sentence(
        text[0].upper() + text[1:], tuple(f"{a}: {'good' if good else 'bad'}" for a, good in is_good.items())
    )


def new_sentences(seed: int, num: int) -> list[Sentence]:
    """Sentences whose subjects, judgements and forms are none of the reviews'; a third judge two aspects."""
    rng = Random(seed)
    found = []
    for i in range(num):
        first, second = rng.sample(list(ASPECTS), 2)
        good = rng.random() < 0.5
        found.append(about(rng, {first: good} if i % 3 else {first: good, second: not good}, new=True))
    return found


def split_sentences_of(world: World) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Each different sentence once: of four in five restaurants to train on, and those that only the others have."""
    train: dict[str, dict[str, Any]] = {}
    held_out: dict[str, dict[str, Any]] = {}
    for i, restaurant in enumerate(world.restaurants):
        for sentence in world.sentences.get(restaurant.name, ()):
            (held_out if i % 5 == 4 else train)[sentence["text"]] = sentence
    return list(train.values()), [sentence for text, sentence in held_out.items() if text not in train]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write(folder: Path, world: World, seed: int) -> None:
    """Everything that is known of the world, as files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = split_sentences_of(world)
    write_jsonl(folder / "reviews.jsonl", world.reviews)
    write_jsonl(folder / "sentences-train.jsonl", train)
    write_jsonl(folder / "sentences-held-out.jsonl", held_out)
    write_jsonl(folder / "sentences-new-words.jsonl", map(asdict, new_sentences(seed, 500)))
    truth = {"restaurants": [asdict(r) for r in world.restaurants], "users": [asdict(u) for u in world.users]}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the files")
    parser.add_argument("--users", type=int, default=300, help="how many write reviews")
    parser.add_argument("--restaurants-per-kitchen", type=int, default=10, help=f"of each of {len(KITCHENS)} kitchens")
    parser.add_argument(
        "--changing-fraction", type=float, default=0.5, help="of users, whose tastes change after a year"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    world = make_world(asked.seed, asked.users, asked.restaurants_per_kitchen, asked.changing_fraction)
    write(asked.output_dir, world, asked.seed)
    print(f"{len(world.reviews):,} reviews of {len(world.restaurants)} restaurants in {asked.output_dir}")


if __name__ == "__main__":
    main()
