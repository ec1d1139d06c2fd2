"""Minimal pairs: of two sentences that differ in a point of grammar, which one does a masked language model prefer?

A sentence's score is its pseudo-log-likelihood: each of its pieces is masked in turn, and the log-probabilities of what
stood there are added up (Salazar et al. 2020, section 2). The pairs of BLiMP (Warstadt et al. 2020) are such.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from bertsmith.data.batch import Window, blocks, micro_batches
from bertsmith.errors import DataError
from bertsmith.evaluation.intervals import Interval, mean_interval
from bertsmith.inference.predictor import Predictor
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress

Scoring = Literal["token", "word"]
TOKENS_AT_ONCE = 1 << 17
"""Of masked copies that are held, sorted by length and packed together."""


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """good: the sentence that is right; bad: the one that is not. paradigm: what the pair was made by.

    phenomenon: what several paradigms are about. field: of the language, syntax say. where: the row, for errors.
    """

    good: str
    bad: str
    paradigm: str = ""
    phenomenon: str = ""
    field: str = ""
    where: str = "pair"


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair with the pseudo-log-likelihood of each sentence, in nats."""

    pair: MinimalPair
    good: float
    bad: float

    @property
    def is_right(self) -> bool:
        """Whether the good sentence scores higher; two that score the same are not told apart."""
        return self.good > self.bad


@dataclass(frozen=True, slots=True)
class Preference:
    """How often the good sentence was preferred, of the pairs of one phenomenon or paradigm."""

    name: str
    field: str
    num_pairs: int
    accuracy: Interval


@dataclass(frozen=True)
class Preferences:
    """accuracy: of all pairs; 0.5 is chance. phenomena, paradigms: of theirs, in the order of the file.

    num_alike: pairs whose sentences are the same to the tokenizer, which count as wrong. num_unknown: pairs with a
    piece that the vocabulary lacks. num_sentences, num_tokens: computed, masked copies and all.
    """

    accuracy: Interval
    phenomena: tuple[Preference, ...]
    paradigms: tuple[Preference, ...]
    num_pairs: int
    num_alike: int
    num_unknown: int
    num_sentences: int
    num_tokens: int
    pairs: tuple[ScoredPair, ...] = field(repr=False)


def prefer(
    predictor: Predictor, pairs: Sequence[MinimalPair], *, scoring: Scoring = "token", progress: Progress | None = None
) -> Preferences:
    """Which sentence of each pair the model prefers. predictor: of a pre-trained model (`Pretraining`).

    scoring: see `pseudo_log_likelihoods`. Raises `DataError` for a sentence that is longer than the model's positions.
    """
    assert pairs, "without pairs there is nothing to prefer"
    where = {text: pair.where for pair in pairs for text in (pair.good, pair.bad)}
    scored = pseudo_log_likelihoods(
        predictor, list(where), where=list(where.values()), scoring=scoring, progress=progress
    )
    by_text = dict(zip(where, scored.scores, strict=True))
    ids = dict(zip(where, scored.ids, strict=True))
    rows = tuple(ScoredPair(pair, by_text[pair.good], by_text[pair.bad]) for pair in pairs)
    unk = predictor.tokenizer.unk_id
    return Preferences(
        mean_interval([row.is_right for row in rows]),
        _grouped(rows, lambda pair: pair.phenomenon),
        _grouped(rows, lambda pair: pair.paradigm),
        len(rows),
        sum(ids[pair.good] == ids[pair.bad] for pair in pairs),
        sum(unk in ids[pair.good] or unk in ids[pair.bad] for pair in pairs),
        len(where),
        scored.num_tokens,
        rows,
    )


@dataclass(frozen=True)
class Scored:
    """scores: of each text. ids: its pieces without special tokens. num_tokens: of all masked copies together."""

    scores: list[float]
    ids: list[tuple[int, ...]]
    num_tokens: int


def pseudo_log_likelihoods(
    predictor: Predictor,
    texts: Sequence[str],
    *,
    where: Sequence[str] | None = None,
    scoring: Scoring = "token",
    progress: Progress | None = None,
) -> Scored:
    """Of each text the sum of log-probabilities, in nats, of its pieces, each guessed from all others.

    scoring: `token`, the rest of the text is seen as it is (Salazar et al. 2020); `word`, further pieces of the word to
    the right of the guessed one are masked too, so that a rare word does not give itself away (Kauf and Ivanova 2023,
    PLL-word-l2r). where: names each text in errors.
    """
    tokenizer = predictor.tokenizer
    pieces = [tuple(ids.tolist()) for ids in tokenizer.pieces_batch(list(texts))]
    limit = predictor.network.encoder.positions.num_positions
    for place, ids in enumerate(pieces):
        if limit is not None and len(ids) + 2 > limit:
            name = f"text {place + 1}" if where is None else where[place]
            raise DataError(f"{name}: {len(ids) + 2} tokens, more than the model's {limit} positions; leave it out")
    scores = [0.0] * len(texts)
    num_tokens = sum(len(ids) * (len(ids) + 2) for ids in pieces)
    copies = ((place, copy) for place, ids in enumerate(pieces) for copy in _masked_copies(ids, predictor, scoring))

    def tokens_of(row: tuple[int, Window]) -> int:
        return row[1].num_tokens

    with (progress or Progress()).phase("scoring", total=num_tokens, unit="tokens") as phase:
        for block in blocks(copies, TOKENS_AT_ONCE, tokens_of):
            found: defaultdict[int, list[float]] = defaultdict(list)
            for batch in micro_batches(block, tokens_of, predictor.max_tokens_per_batch):
                raise_if_asked()
                answers = predictor.parts_of([copy for _, copy in batch])
                for (place, _), answer in zip(batch, answers, strict=True):
                    found[place] += answer.label_log_probabilities
            for place, values in found.items():
                scores[place] += math.fsum(values)
            phase.advance(sum(map(tokens_of, block)))
    return Scored(scores, pieces, num_tokens)


def _masked_copies(ids: Sequence[int], predictor: Predictor, scoring: Scoring) -> Iterator[Window]:
    """A copy of the framed text for each of its pieces, which is masked there and to be guessed."""
    tokenizer = predictor.tokenizer
    framed = np.array([tokenizer.cls_id, *ids, tokenizer.sep_id], dtype=np.int64)
    types = np.zeros_like(framed)
    for place in range(1, len(framed) - 1):
        end = place + 1
        while scoring == "word" and tokenizer.is_continuation[framed[end]]:
            end += 1
        copy = framed.copy()
        copy[place:end] = tokenizer.mask_id
        yield Window(copy, types, {"places": [place], "labels": [int(framed[place])]})


def _grouped(rows: Sequence[ScoredPair], name_of: Callable[[MinimalPair], str]) -> tuple[Preference, ...]:
    groups: dict[str, list[ScoredPair]] = {}
    for row in rows:
        groups.setdefault(name_of(row.pair), []).append(row)
    return tuple(
        Preference(name, group[0].pair.field, len(group), mean_interval([row.is_right for row in group]))
        for name, group in groups.items()
    )


def as_facts(found: Preferences) -> dict[str, Any]:
    """All of it as plain data, a short record for each pair."""
    return asdict(found) | {"pairs": [{**asdict(row.pair), "scores": [row.good, row.bad]} for row in found.pairs]}
