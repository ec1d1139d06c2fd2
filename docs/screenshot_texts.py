"""Texts that the models of the screenshots learn from: sentences made from patterns, with their answers.

Small on purpose: enough for a page that can be looked at, no proof of what a model can do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]

THINGS = ("the parcel", "my order", "the lamp", "the kettle", "the bookshelf", "the coat", "the keyboard", "the tent")
DAYS = ("Monday", "Tuesday", "last week", "Friday", "the weekend", "yesterday", "the third of May")

MESSAGES = {
    "delivery": (
        "{thing} was meant to arrive on {day} and still is not here.",
        "Where is {thing}? The tracking has not changed since {day}.",
        "Can you deliver {thing} to another address?",
        "The driver left {thing} with a neighbour on {day}.",
        "How long does it take until {thing} arrives?",
    ),
    "payment": (
        "I was charged twice for {thing} on {day}.",
        "My card was declined when I paid for {thing}.",
        "Please send me the invoice for {thing}.",
        "Can I pay for {thing} in two parts?",
        "The price of {thing} on the bill is not the one I saw on {day}.",
    ),
    "return": (
        "I would like to send {thing} back, it does not fit.",
        "{thing} broke on {day} and I want my money back.",
        "How do I return {thing}?",
        "I got {thing} in the wrong colour and want to exchange it.",
        "I sent {thing} back on {day} and have no refund yet.",
    ),
    "praise": (
        "{thing} is lovely, thank you so much!",
        "Great service, {thing} came a day early.",
        "I am very happy with {thing}, it works perfectly.",
        "Your staff on {day} could not have been kinder.",
        "Best shop I know, {thing} is even nicer than in the pictures.",
    ),
}

PEOPLE = (
    "Ada Lovelace", "Charles Babbage", "Marie Curie", "Alan Turing", "Grace Hopper", "Emmy Noether", "Carl Gauss",
    "Sofia Kovalevskaya", "Leonhard Euler", "Mary Somerville", "Niels Bohr", "Lise Meitner", "Otto Hahn", "Max Planck",
)  # fmt: skip
PLACES = (
    "London", "Paris", "Vienna", "Prague", "Copenhagen", "Zurich", "Stockholm", "Rome", "Berlin", "Warsaw", "Basel",
    "Edinburgh", "Cambridge", "Petersburg",
)  # fmt: skip
GROUPS = (
    "the Royal Society", "the University of Vienna", "the Academy of Sciences", "the Navy", "Princeton University",
    "the Radium Institute", "the Analytical Society", "the University of Zurich",
)  # fmt: skip
SENTENCES = (
    "{PER} was born in {LOC} and later worked with {PER} .",
    "In {LOC} , {PER} met {PER} at {ORG} .",
    "{ORG} invited {PER} to speak in {LOC} .",
    "{PER} left {LOC} for {LOC} and joined {ORG} .",
    "Letters from {PER} to {PER} are kept by {ORG} .",
    "The lecture in {LOC} was well received , wrote {PER} .",
    "When {PER} came to {LOC} , the winter was long and cold .",
    "{PER} taught at {ORG} , first in {LOC} , then abroad .",
)

FACTS = {
    "birth": ("{name} was born in {place}.", "Where was {name} born?"),
    "work": ("{name} worked in {other} for many years.", "Where did {name} work?"),
    "year": ("{name} won the prize in {year}.", "When did {name} win the prize?"),
    "friend": ("{name} often wrote letters to {friend}.", "To whom did {name} write letters?"),
}
ANSWERED_BY = {"birth": "place", "work": "other", "year": "year", "friend": "friend"}


def messages(num_each: int = 60) -> Iterator[Row]:
    """Messages of customers and what they are about."""
    draw = random.Random(1)
    for label, patterns in MESSAGES.items():
        for _ in range(num_each):
            text = draw.choice(patterns).format(thing=draw.choice(THINGS), day=draw.choice(DAYS))
            yield {"text": text[0].upper() + text[1:], "label": label}


def tagged(num: int = 240) -> Iterator[Row]:
    """Sentences of people, places and groups, a tag for each word."""
    draw = random.Random(2)
    names = {"{PER}": PEOPLE, "{LOC}": PLACES, "{ORG}": GROUPS}
    for _ in range(num):
        words: list[str] = []
        tags: list[str] = []
        for piece in draw.choice(SENTENCES).split():
            if piece in names:
                name = draw.choice(names[piece]).split()
                words += name
                tags += [f"{'I' if place else 'B'}-{piece[1:-1]}" for place in range(len(name))]
            else:
                words.append(piece)
                tags.append("O")
        yield {"words": words, "tags": tags}


def questions(num: int = 400) -> Iterator[Row]:
    """Questions about a person in a passage; one in four is about what the passage does not say."""
    draw = random.Random(3)
    for number in range(num):
        name, friend = draw.sample(PEOPLE, 2)
        place, other = draw.sample(PLACES, 2)
        values = {"name": name, "friend": friend, "place": place, "other": other, "year": str(draw.randint(1850, 1960))}
        kinds = draw.sample(sorted(FACTS), 3)
        context = " ".join(FACTS[kind][0].format(**values) for kind in kinds)
        if number % 4 == 0:
            (asked,) = set(FACTS) - set(kinds)
            answers: Row = {"text": [], "answer_start": []}
        else:
            asked = draw.choice(kinds)
            answer = values[ANSWERED_BY[asked]]
            sentence = FACTS[asked][0].format(**values)
            inside = sentence.index(answer, len(name) if answer != name else 0)
            answers = {"text": [answer], "answer_start": [context.index(sentence) + inside]}
        yield {"question": FACTS[asked][1].format(**values), "context": context, "answers": answers}
