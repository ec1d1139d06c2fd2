"""Scores of pieces to tags of words: windows stitched, the best valid sequence, a probability for each tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.model.crf import Chain
from bertsmith.tasks.tag_records import Separated
from bertsmith.tasks.tag_windows import stretches
from bertsmith.text.tags import OUTSIDE, Grammar, Scheme, read_spans


@dataclass(frozen=True, slots=True)
class TaggedWord:
    """A word, its tag and that tag's probability; start, end: where it is, in characters of the text.

    A word without pieces (control characters alone), or one that truncation cut off, has the tag `O` and the score 0.
    """

    word: str
    tag: str
    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of the type `entity_group`; score: the mean of its words'; `word` is the text from `start` to `end`."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TagPrediction:
    """tags: one a word, a valid sequence of their scheme. words: the same with their places and probabilities.

    entities: in order, none for plain tags. Places count characters of the request's text, or, where it gave words, of
    those words with one blank between any two. num_cut_tokens: tokens that were not read; num_windows: windows that the
    words were read in.
    """

    tags: tuple[str, ...]
    entities: tuple[Entity, ...]
    words: tuple[TaggedWord, ...]
    num_cut_tokens: int = 0
    num_windows: int = 1


@dataclass(frozen=True, eq=False)
class TokenOutputs:
    """logits: [tokens, L] of a window; chain: what a CRF has learned about one label after another."""

    logits: Tensor
    chain: Chain | None


@dataclass(frozen=True, slots=True, eq=False)
class PieceScores:
    """What a window says of the pieces that it answers for. words: [k] their words; logits: float32 [k, L]."""

    words: NDArray[np.int64]
    logits: NDArray[np.float32]
    chain: Chain | None


@dataclass(frozen=True, slots=True, eq=False)
class WordScores:
    """labels: [n], the best valid sequence. scores: [n, L], of which a softmax makes probabilities; of a CRF they are
    those that each label has among all valid sequences.

    read: bool [n]: whether the word had a piece in any window; the others are `O` where the labels have it.
    """

    labels: NDArray[np.intp]
    scores: NDArray[np.float32]
    read: NDArray[np.bool_]

    def probabilities(self, temperature: float) -> NDArray[np.float64]:
        """[n]: of each word's label; 0 for words that were not read."""
        scores = self.scores.astype(np.float64) / temperature
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        chosen = weights[np.arange(len(weights)), self.labels] / weights.sum(axis=1)
        return np.where(self.read, chosen, 0.0)


def score_words(parts: Sequence[PieceScores], num_words: int, labels: Sequence[str], grammar: Grammar) -> WordScores:
    """The tags of a request's words from its windows' parts. A word of several pieces has the mean of their scores.

    A word that was not read is outside of everything: what stands on its two sides are sequences of their own.
    """
    words = np.concatenate([part.words for part in parts])
    counts = np.bincount(words, minlength=num_words)
    scores = np.zeros((num_words, len(labels)), dtype=np.float32)
    np.add.at(scores, words, np.concatenate([part.logits for part in parts]))
    scores /= np.maximum(counts, 1)[:, None]
    read = counts > 0
    best = scores.argmax(axis=1)
    if OUTSIDE in labels:
        best[~read] = labels.index(OUTSIDE)
    learned = parts[0].chain
    if not read.any() or (learned is None and grammar.admits(best)):
        return WordScores(best, scores, read)
    chain = valid_chain(grammar, learned)
    rows, lengths = torch.from_numpy(scores[read]), stretches(np.flatnonzero(read))
    best[read] = chain.best(rows, lengths).numpy()
    if learned is not None:
        scores[read] = chain.log_marginals(rows, lengths).numpy()
    return WordScores(best, scores, read)


def valid_chain(grammar: Grammar, learned: Chain | None) -> Chain:
    """The chain over valid sequences of tags alone; without anything `learned` those are all alike."""
    allowed = [torch.from_numpy(part) for part in (grammar.starts, grammar.transitions, grammar.ends)]
    if learned is None:
        learned = Chain(*(torch.zeros(part.shape) for part in allowed))
    return learned.restricted(*(part.to(learned.starts.device) for part in allowed))


def tagged(words: Separated, tags: Sequence[str], scores: Sequence[float], scheme: Scheme) -> TagPrediction:
    """The prediction of these tags and their probabilities, one a word, with the entities that they stand for."""
    borders = words.borders.tolist()
    rows = zip(words.words, tags, scores, borders, strict=True)
    entities = []
    for kind, first, end in [] if scheme == "plain" else read_spans(tags):
        start, stop = borders[first][0], borders[end - 1][1]
        mean = sum(scores[first:end]) / (end - first)
        entities.append(Entity(kind, mean, words.text[start:stop], start, stop))
    tagged_words = tuple(TaggedWord(word, tag, score, *at) for word, tag, score, at in rows)
    return TagPrediction(tuple(tags), tuple(entities), tagged_words)
