"""What explainers ask: the explained number with words taken away, or with other vectors in the place of words'.

Shapes: W words, T tokens of all explained windows, E embedding width, k copies. Everything is computed in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bertsmith.data.batch import Batch
from bertsmith.errors import DataError, SettingsError
from bertsmith.explain.words import WordMap, map_words
from bertsmith.inference.predictor import Predictor
from bertsmith.model.frozen import frozen_parts
from bertsmith.model.packed import Packed
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.tasks.target import Answered, Target

MAX_TOKENS, MAX_TOKENS_WITH_GRADIENTS = 8192, 2048
"""Of one forward pass, and of one whose intermediate values are kept: some 2.5 GB for BERT-base."""
MAX_EXPLAINED_TOKENS = 4096
"""Of the windows that a number is computed from, which have to be in one pass."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A request, the number that is explained, and the words of the windows that it is computed from.

    num_request_words: also of those that no window holds. check: is called between batches, and raises where nobody
    waits any more.
    """

    predictor: Predictor
    answered: Answered
    target: Target
    words: WordMap
    num_request_words: int
    check: Callable[[], None] = raise_if_asked

    @classmethod
    def of(
        cls,
        predictor: Predictor,
        request: Any,
        choice: str | None = None,
        *,
        max_tokens: int = MAX_EXPLAINED_TOKENS,
        check: Callable[[], None] = raise_if_asked,
    ) -> Self:
        """Raises `DataError` for explained windows without words, or with more than `max_tokens` tokens;
        `SettingsError` for a `choice` that there is not, and for a network that is a copy for prediction alone.
        """
        if frozen_parts(predictor.network):
            raise SettingsError(
                "this network is a copy for prediction, which has no gradients and keeps no attention: load the model "
                "with precision='fp32' to explain what it says"
            )
        task, tokenizer = predictor.task, predictor.tokenizer
        windows = predictor.encode(request)
        check()
        words = map_words(task, request, tokenizer, windows)
        if not words.words:
            raise DataError("nothing to explain: the request holds no word that the model reads; give it a text")
        network = predictor.network.eval()
        with torch.inference_mode():
            outputs = []
            for start, stop in _stretches([window.num_tokens for window in windows], MAX_TOKENS):
                check()
                outputs += task.outputs(network, task.collate(windows[start:stop]).to(predictor.device))
        parts = [task.decode(window, one, tokenizer) for window, one in zip(windows, outputs, strict=True)]
        prediction = predictor.merge(request, windows, parts)
        answered = Answered(request, tokenizer, windows, outputs, prediction)
        target = task.explained(answered, choice)
        num_tokens = sum(window.num_tokens for window in target.windows)
        if num_tokens > max_tokens:
            raise DataError(
                f"{num_tokens:,} tokens in {len(target.windows)} windows are too many to explain at once, at most "
                f"{max_tokens:,} are: explain a part of the text, or raise max_explained_tokens where memory is large"
            )
        explained = words.of_windows(target.numbers)
        if not explained.words:
            raise DataError(
                f"nothing to explain: no word of the request is where {target.name!r:.80} is read from; give it a "
                "text, or name something else as the target"
            )
        return cls(predictor, answered, target, explained, len(words.words), check)

    @property
    def num_words(self) -> int:
        return len(self.words.words)

    @property
    def has_attention(self) -> bool:
        """Not with a knowledge graph, whose facts are tokens of no window and see but a part of it."""
        return self.predictor.network.config.knowledge is None

    @cached_property
    def has_facts(self) -> bool:
        """Whether facts of a knowledge graph stand beside the explained windows."""
        encoder = self.predictor.network.encoder
        knowledge, limit = encoder.knowledge, encoder.positions.num_positions
        return knowledge is not None and knowledge.grown(self.packed, limit) is not None

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """[T], the word of each token of the windows one after another; -1 for special tokens."""
        return np.concatenate(self.words.tokens)

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    def by_word(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """[T] -> [W]: the sum of each word's tokens, in all windows that hold it."""
        is_word = self.tokens >= 0
        sums = np.zeros(self.num_words)
        np.add.at(sums, self.tokens[is_word], values[is_word])
        return sums

    # Words taken away

    def scores(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """[k, W] -> [k]: the explained number where [MASK] stands for each token of the words that are not kept."""
        found: list[float] = []
        size = max(1, MAX_TOKENS // self.num_tokens)
        with torch.inference_mode():
            for start in range(0, len(kept), size):
                self.check()
                batch = self._batch(kept[start : start + size])
                found += self.target.scores(self._network, batch).double().tolist()
        return np.array(found)

    def likelihoods(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """[k, W] -> [k]: as `scores`, as the probabilities that they stand for, where they stand for any."""
        return self.target.likelihood(self.scores(kept))

    @cached_property
    def score(self) -> float:
        """The number that is explained."""
        return float(self.scores(np.ones((1, self.num_words), dtype=np.bool_))[0])

    # Vectors in the place of words'

    @cached_property
    def vectors(self) -> Tensor:
        """[T, E]: those of the tokens. Raises `SettingsError` where there are facts, as `baseline` does."""
        return self._looked_up(np.ones(self.num_words, dtype=np.bool_))

    @cached_property
    def baseline(self) -> Tensor:
        """[T, E]: [MASK]'s in the place of every word's, special tokens as they are."""
        return self._looked_up(np.zeros(self.num_words, dtype=np.bool_))

    def scores_at(self, vectors: Tensor) -> NDArray[np.float64]:
        """[k, T, E], in the place of the tokens' own -> [k], the scores of the copies."""
        found: list[float] = []
        with torch.inference_mode():
            for part in torch.split(vectors, max(1, MAX_TOKENS // self.num_tokens)):
                self.check()
                found += self.target.scores(self._network, self._batch_at(part)).double().tolist()
        return np.array(found)

    def gradients(self, vectors: Tensor) -> Tensor:
        """[k, T, E], in the place of the tokens' own -> [k, T, E], the gradient of each copy's score."""
        gradients = []
        size = max(1, MAX_TOKENS_WITH_GRADIENTS // self.num_tokens)
        with torch.inference_mode(mode=False), torch.enable_grad(), _weights_at_rest(self._network):
            for part in torch.split(vectors, size):
                self.check()
                asked = part.detach().clone().requires_grad_()
                found = self.target.scores(self._network, self._batch_at(asked))
                (gradient,) = torch.autograd.grad(found.sum(), asked)
                gradients.append(gradient)
        return torch.cat(gradients)

    # Parts of the above

    @property
    def packed(self) -> Packed:
        """The windows as they are, once."""
        return self._batch(np.ones((1, self.num_words), dtype=np.bool_)).packed

    @property
    def _network(self) -> nn.Module:
        return self.predictor.network

    def _looked_up(self, kept: NDArray[np.bool_]) -> Tensor:
        if self.has_facts:  # found by ids, they would stand beside the vectors of [MASK]s too, as no text has them
            raise SettingsError(
                "this text has an entity of the model's knowledge graph: its facts come and go with the word, not bit "
                "by bit as gradients need it; explain it with the explainer occlusion"
            )
        with torch.inference_mode(mode=False), torch.no_grad():
            ids = self._batch(kept[None]).packed.input_ids
            vectors: Tensor = self.predictor.network.encoder.embeddings.tokens(ids).float()
        return vectors

    def _batch(self, kept: NDArray[np.bool_]) -> Batch:
        """Copies of the windows, a row of `kept` each, with [MASK] for the words that are not kept."""
        mask_id = self.answered.tokenizer.mask_id
        rows = []
        for copy in kept:
            for window, words in zip(self.target.windows, self.words.tokens, strict=True):
                stays = np.append(copy, True)[words]
                rows.append(replace(window, input_ids=np.where(stays, window.input_ids, mask_id)))
        return self.predictor.task.collate(rows).to(self.predictor.device)

    def _batch_at(self, vectors: Tensor) -> Batch:
        """Copies of the windows with these vectors, [k, T, E], in the place of the tokens' own."""
        batch = self._batch(np.ones((len(vectors), self.num_words), dtype=np.bool_))
        return replace(batch, packed=replace(batch.packed, token_vectors=vectors.flatten(0, 1)))


def _stretches(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Neighbours that together have at most `most`, or one that has more."""
    start = filled = 0
    for place, size in enumerate(sizes):
        if place > start and filled + size > most:
            yield start, place
            start, filled = place, 0
        filled += size
    yield start, len(sizes)


@contextmanager
def _weights_at_rest(network: nn.Module) -> Iterator[None]:
    """Weights without gradients, for which intermediate values would be kept."""
    asking = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in asking:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in asking:
            weight.requires_grad_(True)
