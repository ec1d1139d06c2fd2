"""Requests to predictions: encoded, packed by a token budget, computed, decoded and merged in the order they came.

Knows `Task`, never a task. Outputs are reduced batch by batch, so memory does not grow with the data set's logits.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.artifact import Artifact, load_artifact
from bertsmith.data.batch import Truncation, Window, blocks, micro_batches
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError, SettingsError
from bertsmith.model.frozen import frozen, is_batch_invariant
from bertsmith.model.networks import Network
from bertsmith.model.safe_weights import WEIGHTS
from bertsmith.runtime.device import PredictionPrecision, autocast, has_bf16, pick_device, pick_precision
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.task import Example, Task
from bertsmith.text.tokenizer import Tokenizer

Result = TypeVar("Result")

BLOCK_REQUESTS = 4096
"""Requests encoded at a time: enough to find neighbours of like length, few enough to bound memory."""
CPU_TOKENS, GPU_TOKENS = 8192, 32_768
"""Of a batch. A GPU computes few of them in less time than it takes to ask for that (docs/performance.md)."""
GPU_THREADS = 2
"""That ask a GPU: one packs and reads results while it computes for the other."""
NUM_ENCODERS = min(8, os.cpu_count() or 1)
"""Threads that encode for a GPU; beside a CPU's they would not count."""
ENCODED_TOGETHER = 64


@dataclass(frozen=True)
class Predictions:
    """predictions: one a request, in order. num_cut_requests, num_cut_tokens: what did not fit and was not read.

    num_windowed_requests: read in several windows. parts: of each request its windows' decoded outputs, if asked for.
    """

    predictions: list[Any]
    num_tokens: int
    num_cut_requests: int
    num_cut_tokens: int
    num_windowed_requests: int = 0
    parts: list[list[Any]] = field(default_factory=list)

    @property
    def truncation(self) -> Truncation:
        cut = self.num_cut_requests, self.num_cut_tokens
        return Truncation(len(self.predictions), *cut, self.num_windowed_requests)


@dataclass(frozen=True)
class Embedded:
    """vectors: float32 [n, H], one a text, in order. truncation: of the texts."""

    vectors: NDArray[np.float32]
    truncation: Truncation


@dataclass(frozen=True)
class Predictor:
    """A task, its network and its tokenizer, ready to answer. sha256: of the file of its weights; empty for several.

    >>> load("runs/reviews").predict(["A delight from start to end."])[0].label  # doctest: +SKIP
    'positive'
    """

    task: Task[Any, Any]
    network: Network
    tokenizer: Tokenizer
    precision: PredictionPrecision = "auto"
    max_tokens_per_batch: int = CPU_TOKENS
    sha256: str = ""

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        *,
        device: str = "auto",
        precision: PredictionPrecision = "auto",
        batch_invariant: bool = False,
    ) -> Self:
        """The artifact's predictor. Where bf16 is multiplied in hardware it computes through a frozen copy.

        batch_invariant: a prediction is the same, to the bit, whatever else is asked beside it. Where the compiled
        kernels do all products that costs nothing; elsewhere each text is computed by itself.
        """
        where = pick_device(device)
        network = artifact.network.to(where).eval()
        picked = pick_precision(precision, where)
        if picked != "fp32" and (has_bf16(where) or picked == "int8"):
            network = frozen(network, picked)
        budget = CPU_TOKENS if where.type == "cpu" else GPU_TOKENS
        weights = artifact.record.get("files", {}).get(WEIGHTS, "")
        predictor = cls(artifact.task, network, artifact.tokenizer, precision, budget, weights)
        if batch_invariant and not is_batch_invariant(network):
            return replace(predictor, max_tokens_per_batch=1)
        return predictor

    def predict(self, requests: Sequence[Any], progress: Progress | None = None) -> list[Any]:
        """One prediction a request; a request is a text, a tuple, a mapping of fields, or a `Request`."""
        if isinstance(requests, str | Mapping):
            raise DataError("predict takes a list of requests, found a single one")
        read = [
            item if isinstance(item, self.task.Request) else self.task.request(item, f"request {place}")
            for place, item in enumerate(requests, start=1)
        ]
        return self.run(read, progress=progress).predictions

    def embed(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """The vector of each text: float32 [n, H]. Warns of texts that were cut, if the model's settings cut them.

        Raises `SettingsError` for a model that is not for embedding.
        """
        embedded = self.embedded(texts, progress)
        if embedded.truncation.num_cut_examples:
            told = f"{embedded.truncation.num_cut_examples} of {len(texts)} texts were cut to the model's max_length"
            warnings.warn(told, stacklevel=2)
        return embedded.vectors

    def embedded(self, texts: Sequence[str], progress: Progress | None = None) -> Embedded:
        """As `embed`, for who embeds in several parts and tells once of all that were cut."""
        if not self.embeds:
            raise SettingsError(
                f"this model is for {self.task.name}, embed is for models of the task embedding, for folders of "
                "sentence-transformers and for bare encoders"
            )
        if isinstance(texts, str):
            raise DataError("embed takes a list of texts, found a single one")
        texts = list(texts)
        width: int = self.network.config.hidden_size
        vectors = np.empty((len(texts), width), dtype=np.float32)
        truncation = Truncation()
        with (progress or Progress()).phase("embedding", total=len(texts), unit="texts") as phase:
            for start in range(0, len(texts), BLOCK_REQUESTS):
                block = texts[start : start + BLOCK_REQUESTS]
                requests = [self.task.request({"text": text}, f"text {n}") for n, text in enumerate(block, start + 1)]
                result = self.run(requests)
                vectors[start : start + len(block)] = [prediction.embedding for prediction in result.predictions]
                truncation += result.truncation
                phase.advance(len(block))
        return Embedded(vectors, truncation)

    @torch.inference_mode()
    def run(
        self,
        items: Iterable[Any],
        *,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
        keep_parts: bool = False,
        progress: Progress | None = None,
    ) -> Predictions:
        """Predictions for requests, or for examples, whose targets then reach `decode`; with the count of what was cut.

        `seed` decides what an example's encoding draws, masks for one, with its number; None: they are counted from 0.
        """
        results: list[Any] = []
        kept: list[list[Any]] = []
        num_tokens = num_cut = num_cut_tokens = num_windowed = 0
        total = len(items) if isinstance(items, Sequence) else None
        self.network.eval()
        with (progress or Progress()).phase("predicting", total=total, unit="requests") as phase:
            for block in blocks(items, BLOCK_REQUESTS):
                own = range(len(results), len(results) + len(block))
                encoded = self._encoded(block, seed, own if numbers is None else [numbers[place] for place in own])
                parts = self._forward(encoded, phase.advance)
                kept += parts if keep_parts else []
                for item, windows, row in zip(block, encoded, parts, strict=True):
                    cut = sum(window.num_cut_tokens for window in windows)
                    results.append(self.merge(item, windows, row))
                    num_tokens += sum(window.num_tokens for window in windows)
                    num_cut, num_cut_tokens = num_cut + (cut > 0), num_cut_tokens + cut
                    num_windowed += any(window.continues for window in windows)
        return Predictions(results, num_tokens, num_cut, num_cut_tokens, num_windowed, kept)

    @property
    def embeds(self) -> bool:
        """Whether a prediction is a vector: its field `embedding`."""
        return any(part.name == "embedding" for part in fields(self.task.Prediction))

    def for_task(self, name: str, what: str) -> Self:
        """This predictor, if it is for the task `name`; what: the setting that asks for one, for the error.

        Raises `SettingsError` for a model of another task.
        """
        if self.task.name != name:
            raise SettingsError(f"{what}: a model for {name} is expected, this one is for {self.task.name}")
        return self

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def encode(self, item: Any, seed: int = 0, number: int = 0) -> list[Window]:
        """The first step of `run`: the windows of a request or an example, `number` being its place among others."""
        return self.task.encode(item, self.tokenizer, sample_rng(seed, 0, number))

    @torch.inference_mode()
    def parts_of(self, windows: Sequence[Window]) -> list[Any]:
        """The second step: what the network says of each window, all of them in one batch."""
        batch = self.task.collate(windows).to(self.device)
        with autocast(self.precision, self.device):
            outputs = self.task.outputs(self.network, batch)
        return [
            self.task.decode(window, output, self.tokenizer) for window, output in zip(windows, outputs, strict=True)
        ]

    def merge(self, item: Any, windows: Sequence[Window], parts: Sequence[Any]) -> Any:
        """The last step: the prediction for a request, or for an example, from its windows' parts, in order."""
        request = item.request if isinstance(item, Example) else item
        return self.task.merge(request, parts, sum(window.num_cut_tokens for window in windows))

    def _encoded(self, items: Sequence[Any], seed: int, numbers: Sequence[int]) -> list[list[Window]]:
        """The windows of each item, which draws its random numbers by its number."""

        def encode(start: int) -> list[list[Window]]:
            rows = range(start, min(start + ENCODED_TOGETHER, len(items)))
            return [self.encode(items[row], seed, numbers[row]) for row in rows]

        starts = range(0, len(items), ENCODED_TOGETHER)
        num_threads = 1 if self.device.type == "cpu" else NUM_ENCODERS
        return [windows for part in _mapped(encode, starts, num_threads) for windows in part]

    def _forward(self, encoded: Sequence[Sequence[Window]], advance: Callable[[int], None]) -> list[list[Any]]:
        """For each item its windows' decoded parts, in order, whatever batches they were computed in."""
        parts: list[list[Any]] = [[None] * len(windows) for windows in encoded]
        places = [(i, j, window) for i, windows in enumerate(encoded) for j, window in enumerate(windows)]
        batches = micro_batches(places, lambda place: place[2].num_tokens, self.max_tokens_per_batch)

        def compute(batch: Sequence[tuple[int, int, Window]]) -> int:
            raise_if_asked()
            for (i, j, _), part in zip(batch, self.parts_of([window for _, _, window in batch]), strict=True):
                parts[i][j] = part
            return sum(j == 0 for _, j, _ in batch)

        for num_begun in _mapped(compute, batches, 1 if self.device.type == "cpu" else GPU_THREADS):
            advance(num_begun)
        return parts


def _mapped(work: Callable[[Any], Result], over: Sequence[Any], num_threads: int) -> Iterator[Result]:
    """What `work` makes of each, in order; by this thread if it is to be one, and after an error no more is begun."""
    if num_threads == 1 or len(over) == 1:
        yield from map(work, over)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            yield from pool.map(work, over)
        finally:
            pool.shutdown(cancel_futures=True)


def load(
    folder: str | Path,
    *,
    device: str = "auto",
    precision: PredictionPrecision = "auto",
    batch_invariant: bool = False,
    task: Mapping[str, Any] | None = None,
) -> Predictor:
    """The predictor for a saved model.

    precision: fp32, bf16, int8, or auto for bf16 where the machine has it. batch_invariant: the same bits for a text
    whatever it is batched with (`Predictor.of`). task: settings of its task, laid over those that it was saved with.
    """
    artifact = load_artifact(Path(folder)).asked_with(task or {})
    return Predictor.of(artifact, device=device, precision=precision, batch_invariant=batch_invariant)
