"""What each layer of a frozen encoder holds where a task decides: a row of numbers for each decision.

Shapes: T tokens of a batch, n decisions, H hidden size. A decision of classification is a window of a text, read as one
vector; one of tagging is a piece that answers for its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.data.batch import Window, blocks, micro_batches, pack
from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.model.attention import Capture
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.classification import Classification
from bertsmith.tasks.tag_decoding import PieceScores
from bertsmith.tasks.tag_records import separated
from bertsmith.tasks.tag_windows import TagWindow
from bertsmith.tasks.task import Example, Task
from bertsmith.tasks.token_classification import TokenClassification

Pooling = Literal["mean", "cls"]
EXAMPLES_AT_ONCE = 1024
"""Encoded together: enough to find neighbours of like length."""


@dataclass(frozen=True, eq=False)
class States:
    """layers: of the embeddings and of each layer float32 [n, H]. labels: int64 [n], indices of the task's.

    examples: int64 [n], whose decision it is, rising. words: of each decision the word that its control label is drawn
    for. windows: of each example its windows, each with the number of its decisions.
    """

    layers: list[NDArray[np.float32]]
    labels: NDArray[np.int64]
    examples: NDArray[np.int64]
    words: list[str]
    windows: list[list[tuple[Window, int]]]

    def parts(self, scores: NDArray[np.float32]) -> list[list[Any]]:
        """Scores [n, L] of the decisions as what the task's `merge` takes: for each example a part for each window."""
        begin, rows = 0, []
        for example in self.windows:
            parts: list[Any] = []
            for window, num in example:
                own = scores[begin : begin + num]
                if isinstance(window, TagWindow):
                    parts.append(PieceScores(window.words, own, None))
                else:
                    parts.append(own[0].tolist())
                begin += num
            rows.append(parts)
        return rows


def refuse_to_probe(task: Task[Any, Any]) -> None:
    """A `SettingsError` for a task whose decisions are no single labels."""
    one_label = isinstance(task, Classification) and task.settings.problem_type == "single_label"
    if not one_label and not isinstance(task, TokenClassification):
        raise SettingsError(f"a probe decides on one label, of a text or of each word; {task.name} as set does not")


def read_states(
    predictor: Predictor,
    examples: Sequence[Example[Any]],
    *,
    pooling: Pooling = "mean",
    progress: Progress | None = None,
) -> States:
    """One pass of the encoder over the examples, with the states of every layer kept.

    pooling: how a text's states become one vector: the mean of its tokens', or the first one's. Takes 4 n H bytes a
    layer.
    """
    task = predictor.task
    refuse_to_probe(task)
    config = predictor.network.config
    rows: list[list[NDArray[np.float32]]] = [[] for _ in range(config.num_hidden_layers + 1)]
    windows: list[list[tuple[Window, int]]] = []
    labels: list[int] = []
    places: list[int] = []
    words: list[str] = []
    with (progress or Progress()).phase("reading layers", total=len(examples), unit="examples") as phase:
        for block in blocks(enumerate(examples), EXAMPLES_AT_ONCE):
            encoded = [predictor.encode(example, number=place) for place, example in block]
            flat = [window for own in encoded for window in own]
            for layer, states in zip(rows, _layers(predictor, flat, pooling), strict=True):
                layer += states
            for (place, example), own in zip(block, encoded, strict=True):
                of_windows = [_decisions(example, window) for window in own]
                windows.append([(window, len(found)) for window, found in zip(own, of_windows, strict=True)])
                for label, word in (pair for found in of_windows for pair in found):
                    labels.append(label)
                    places.append(place)
                    words.append(word)
            phase.advance(len(block))
    return States(
        [np.concatenate(layer) for layer in rows],
        np.array(labels, dtype=np.int64),
        np.array(places, dtype=np.int64),
        words,
        windows,
    )


def _decisions(example: Example[Any], window: Window) -> list[tuple[int, str]]:
    """Label and word of each decision in a window. A text's word is its first one."""
    if isinstance(window, TagWindow):
        known = separated(example.request).words
        pairs = zip(window.targets["labels"].tolist(), window.words.tolist(), strict=True)
        return [(label, known[word].lower()) for label, word in pairs]
    return [(int(window.targets["label"]), next(iter(example.request.text.lower().split()), ""))]


@torch.inference_mode()
def _layers(predictor: Predictor, windows: Sequence[Window], pooling: Pooling) -> list[list[NDArray[np.float32]]]:
    """Of each layer the rows of each window, in the order of the windows: float32 [decisions, H]."""
    num_layers = predictor.network.config.num_hidden_layers + 1
    found: list[list[NDArray[np.float32]]] = [[np.empty(0, dtype=np.float32)] * len(windows) for _ in range(num_layers)]
    batches = micro_batches(enumerate(windows), lambda row: row[1].num_tokens, predictor.max_tokens_per_batch)
    for batch in batches:
        raise_if_asked()
        packed = pack([window for _, window in batch]).to(predictor.device)
        capture = Capture(want_hidden_states=True)
        predictor.network.encoder(packed, capture)
        for layer, states in zip(found, capture.hidden_states, strict=True):
            for (place, window), own in zip(batch, packed.split(states.float()), strict=True):
                layer[place] = _rows(window, own, pooling).cpu().numpy()
    return found


def _rows(window: Window, states: Tensor, pooling: Pooling) -> Tensor:
    if isinstance(window, TagWindow):
        return states[torch.from_numpy(window.places).to(states.device)]
    return states.mean(0, keepdim=True) if pooling == "mean" else states[:1]
