"""The words of texts with their vectors in context: the mean of a word's pieces, from a chosen layer. Knows no task.

Shapes: n words of a text, T tokens of a batch, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.data.batch import Window, blocks, micro_batches, pack
from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import BLOCK_REQUESTS, Predictor
from bertsmith.model.attention import Capture
from bertsmith.runtime.device import autocast
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.text.windows import Pieces, pieces_of


@dataclass(frozen=True, slots=True)
class TextWords:
    """Of one text. words: as BERT separates them, in lower case where the tokenizer lowers; [n].

    vectors: float32 [n, H], of length 1. is_known: [n], whether the vocabulary knows the word. num_cut: words that did
    not fit into the model's positions, which are left out.
    """

    words: tuple[str, ...]
    vectors: NDArray[np.float32]
    is_known: NDArray[np.bool_]
    num_cut: int


def middle_layer(predictor: Predictor, layer: int | None) -> int:
    """The number of a layer, from 0 for the embeddings; None: two thirds of the way up.

    The middle layers align words of different languages best (Jalili Sabet et al. 2020, figure 3). Raises
    `SettingsError` for one that the model has not.
    """
    num_layers = predictor.network.config.num_hidden_layers
    if layer is None:
        return max(1, round(2 * num_layers / 3))
    if not 0 <= layer <= num_layers:
        raise SettingsError(f"layer {layer}: the model has layers 1 to {num_layers}, and 0 for its embeddings")
    return layer


@torch.inference_mode()
def word_vectors(predictor: Predictor, texts: Sequence[str], layer: int | None = None) -> Iterator[TextWords]:
    """The words of each text, in order; a text without any has none."""
    layer = middle_layer(predictor, layer)
    room = predictor.network.config.max_position_embeddings - 2
    predictor.network.eval()
    for block in blocks(texts, BLOCK_REQUESTS):
        pieces = pieces_of(predictor.tokenizer, block)
        found: list[TextWords | None] = [None] * len(block)
        rows = list(enumerate(_window(predictor, whole, room) for whole in pieces))
        for batch in micro_batches(rows, lambda row: row[1].num_tokens, predictor.max_tokens_per_batch):
            raise_if_asked()
            states = _states(predictor, [window for _, window in batch], layer)
            for (place, _), hidden in zip(batch, states, strict=True):
                found[place] = _words(predictor, block[place], pieces[place], hidden)
        yield from (words for words in found if words is not None)


def _window(predictor: Predictor, whole: Pieces, room: int) -> Window:
    ids = np.concatenate(([predictor.tokenizer.cls_id], whole.ids[:room], [predictor.tokenizer.sep_id]))
    return Window(ids, np.zeros_like(ids))


def _states(predictor: Predictor, windows: Sequence[Window], layer: int) -> list[NDArray[np.float32]]:
    """The hidden states of each window's pieces, special tokens aside."""
    packed = pack(windows).to(predictor.device)
    capture = Capture(want_hidden_states=True)
    with autocast(predictor.precision, predictor.device):
        predictor.network.encoder(packed, capture)
    hidden = capture.hidden_states[layer].float().cpu()
    return [states[1:-1].numpy() for states in packed.split(hidden)]


def _words(predictor: Predictor, text: str, whole: Pieces, hidden: NDArray[np.float32]) -> TextWords:
    """The means of each word's pieces; of a word that was cut within, those that are there."""
    count = len(hidden)
    starts = whole.word_starts[whole.word_starts < count]
    ends = np.append(whole.word_starts, len(whole))[1 : len(starts) + 1]
    width = hidden.shape[1]
    if not len(starts):
        return TextWords((), np.empty((0, width), np.float32), np.empty(0, np.bool_), len(whole.word_starts))
    vectors = np.add.reduceat(hidden, starts, axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    names = [text[first:last] for first, last in zip(whole.offsets[starts, 0], whole.offsets[ends - 1, 1], strict=True)]
    if predictor.tokenizer.lowercase:
        names = [name.lower() for name in names]
    is_known = whole.ids[starts] != predictor.tokenizer.unk_id
    return TextWords(tuple(names), vectors, is_known, len(whole.word_starts) - len(starts))
