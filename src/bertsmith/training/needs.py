"""What a run takes of memory and disk, found out before its first step. Knows `Task`, not where a run comes from.

Weights, gradients and moments are counted; what a forward and a backward pass keep is measured on two small batches of
the run's own samples, as so many bytes and so many more a token, and drawn out to the micro-batch's token budget.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bertsmith.data.batch import Window
from bertsmith.data.order import epoch_order, sample_rng
from bertsmith.errors import BertsmithError
from bertsmith.runtime.device import Precision, pick_device
from bertsmith.runtime.memory import free_bytes, keep_few_products, resident_bytes
from bertsmith.runtime.processes import processes
from bertsmith.runtime.tensor_bytes import TensorBytes
from bertsmith.tasks.task import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.checkpoint import checkpoints_folder
from bertsmith.training.optimizer import build_optimizer, large_tables
from bertsmith.training.parallel import bytes_beside
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import Step, backward, make_step

NUM_SEEN_SAMPLES = 128
"""Samples that lengths are taken from: the first of the run."""
PROBE_TOKENS = 2048
"""Of the larger batch that is measured; the smaller one has half. Below it, what is fixed hides what grows."""
GAPS = 0.75
"""Of the activations: what lies between blocks whose sizes change from step to step, in glibc's memory."""
LIBRARIES_BYTES = 150_000_000
"""What PyTorch and oneDNN keep beside tensors once they compute. Both figures come from runs in docs/log.md."""
BYTES_OF_TOKENIZER = 60
"""A piece, in the files of a saved tokenizer."""


class NotEnoughError(BertsmithError):
    """A run that does not fit into the memory or on the disk that there is."""


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes of a run at its peak, and what there is.

    process: what was held before, the weights among it. beside: of weights in pieces, beside those; 0 unless fsdp.
    gradients, moments: of what is trained; a piece of them under fsdp. activations: what a forward and a backward pass
    of one micro-batch hold beside them, fixed_bytes + bytes_per_token * tokens. gaps: what the allocator loses, as a
    share of them. libraries: what these keep. saving: a checkpoint's copy of everything. free: what may still be taken;
    None where the system does not tell.
    """

    process: int
    weights: int
    beside: int
    gradients: int
    moments: int
    fixed_bytes: int
    bytes_per_token: float
    tokens: int
    longest: int
    gaps: float
    libraries: int
    saving: int
    free: int | None

    @property
    def activations(self) -> int:
        return self.fixed_bytes + round(self.bytes_per_token * self.tokens)

    @property
    def to_come(self) -> int:
        """Beyond what is held already: in a step or, under fsdp, while a whole copy of weights becomes pieces."""
        return max(self._of_a_step, self._of_cutting)

    @property
    def _of_a_step(self) -> int:
        activations = round((1 + self.gaps) * self.activations)
        return self.beside + self.gradients + self.moments + activations + self.libraries + self.saving

    @property
    def _of_cutting(self) -> int:
        return self.weights if self.beside else 0

    @property
    def peak(self) -> int:
        return self.process + self.to_come

    @property
    def tokens_that_fit(self) -> int:
        """The largest micro-batch that does, not below the longest sample; 0 where even that one does not fit."""
        if self.free is None:
            return self.tokens
        per_token = (1 + self.gaps) * self.bytes_per_token
        tokens = int((self.free - self._of_a_step + per_token * self.tokens) / per_token)
        return min(tokens, self.tokens) if tokens >= self.longest and self._of_cutting <= self.free else 0

    def check(self) -> None:
        """Raises `NotEnoughError`, with what would fit."""
        if self.free is None or self.to_come <= self.free:
            return
        if self.tokens_that_fit:
            advice = f"--max-tokens-per-micro-batch {self.tokens_that_fit} would fit, and changes no result"
        else:
            advice = "not even one sample at a time would fit: take a smaller model, or a smaller --max-length"
        pieces = f"weights in pieces {self.beside:,}, " if self.beside else ""
        raise NotEnoughError(
            f"memory: needed are {self.to_come:,} bytes more, free are {self.free:,} ({pieces}gradients "
            f"{self.gradients:,}, optimizer {self.moments:,}, activations of {self.tokens:,} tokens "
            f"{self.activations:,}, copies for checkpoints {self.saving:,}, the rest between them "
            f"and in libraries); {advice}"
        )


@dataclass(frozen=True)
class DiskNeeds:
    """Bytes of a run's folder and its checkpoints at their largest, and what there is where they go.

    artifact: the saved model; while a better one takes its place there are two. checkpoint: one of num_checkpoints, the
    one being written among them. there: what lies there already and is replaced. free: beside it.
    """

    folder: Path
    artifact: int
    checkpoint: int
    num_checkpoints: int
    there: int
    free: int

    @property
    def total(self) -> int:
        return 2 * self.artifact + self.num_checkpoints * self.checkpoint

    @property
    def to_come(self) -> int:
        return max(0, self.total - self.there)

    def check(self) -> None:
        """Raises `NotEnoughError`, with what would fit."""
        if self.to_come <= self.free:
            return
        fewer = (self.free + self.there - 2 * self.artifact) // max(self.checkpoint, 1) - 1
        advice = f"--save-total-limit {fewer} would fit; or f" if 1 <= fewer < self.num_checkpoints - 1 else "f"
        raise NotEnoughError(
            f"{self.folder}: needed are {self.to_come:,} bytes of disk (the model {self.artifact:,} twice while it is "
            f"replaced, {self.num_checkpoints} checkpoints of {self.checkpoint:,}), free are {self.free:,}; "
            f"{advice}ree some space, or name another --output-dir"
        )


def memory_needs(
    task: Task[Any, Any],
    network: nn.Module,
    tokenizer: Tokenizer,
    samples: Sequence[Any],
    settings: TrainingSettings,
    *,
    saves: bool = True,
) -> MemoryNeeds:
    """Of `train` with the same arguments; weights and random numbers stay. saves: whether it writes checkpoints."""
    keep_few_products()
    device = pick_device(settings.device)
    network.to(device).train()
    build_optimizer(network, settings.optimizer, settings.peak_learning_rate)  # what PyTorch imports for it counts too
    process = resident_bytes()
    rows = seen_windows(task, tokenizer, samples, settings.seed)
    lengths = [sum(window.num_tokens for window in row) for row in rows]
    weights = sum(parameter.nbytes for parameter in network.parameters())
    trained = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    longest = max(lengths)
    of_a_step = longest * min(settings.per_device_train_batch_size, len(samples))
    tokens = max(longest, min(settings.max_tokens_per_micro_batch, of_a_step))
    fixed, per_token = _activations(task, network, rows, settings, min(tokens, PROBE_TOKENS))
    shares = processes().size if settings.data_parallel == "fsdp" else 1
    moments = 2 * trained
    return MemoryNeeds(
        process,
        weights,
        bytes_beside(network, shares) if shares > 1 else 0,
        trained // shares,
        moments // shares,
        fixed,
        per_token,
        tokens,
        longest,
        GAPS if device.type == "cpu" else 0.0,
        LIBRARIES_BYTES if device.type == "cpu" else 0,
        weights + moments if saves and device.type == "cpu" else 0,
        _free(device),
    )


def _free(device: torch.device) -> int | None:
    """Of memory, for this process: those of one machine take as much each."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = free_bytes()
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if processes().size > 1 else 1
    return None if free is None else free // neighbours


def disk_needs(folder: Path, network: nn.Module, settings: TrainingSettings, *, saves: bool = True) -> DiskNeeds:
    """Of a run into `folder`."""
    weights = sum(parameter.nbytes for parameter in network.parameters())
    trained = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    pieces = max((table.num_embeddings for table in network.modules() if isinstance(table, nn.Embedding)), default=0)
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return DiskNeeds(
        folder,
        weights + BYTES_OF_TOKENIZER * pieces,
        weights + 2 * trained,
        settings.save_total_limit + 1 if saves else 1,
        sum(_size(path) for path in (folder, checkpoints_folder(folder))),
        shutil.disk_usage(place).free,
    )


def seen_windows(task: Task[Any, Any], tokenizer: Tokenizer, samples: Sequence[Any], seed: int) -> list[list[Window]]:
    """Of each of the first samples of a run, as its first epoch encodes them."""
    order = epoch_order(len(samples), seed, 0)[:NUM_SEEN_SAMPLES].tolist()
    return [task.encode(samples[index], tokenizer, sample_rng(seed, 0, index)) for index in order]


def _activations(
    task: Task[Any, Any], network: nn.Module, rows: list[list[Window]], settings: TrainingSettings, tokens: int
) -> tuple[int, float]:
    """(bytes, bytes a token) of a forward and a backward pass, beside weights and gradients.

    By the longer half of the rows, of mixed lengths: a step's first micro-batch has its longest, and what is of one
    length is not copied into rectangles.
    """
    lengths = [sum(window.num_tokens for window in row) for row in rows]
    middle = sorted(lengths)[len(lengths) // 2]
    rows = [row for row, length in zip(rows, lengths, strict=True) if length >= middle]
    small, large = (_probe(task, rows, size) for size in (tokens // 2, tokens))
    device = next(network.parameters()).device
    optimizer = build_optimizer(network, settings.optimizer, settings.peak_learning_rate)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), optimizer.by_rows(large_tables(network)):
        _peak(task, network, small, settings.precision)  # once before, so that gradients are there
        peaks = [_peak(task, network, step, settings.precision) for step in (small, large)]
    network.zero_grad(set_to_none=True)
    if large.facts.num_tokens == small.facts.num_tokens:  # one sample alone is longer than both
        return 0, peaks[1] / large.facts.num_tokens
    per_token = (peaks[1] - peaks[0]) / (large.facts.num_tokens - small.facts.num_tokens)
    return max(0, round(peaks[1] - per_token * large.facts.num_tokens)), per_token


def _probe(task: Task[Any, Any], rows: list[list[Window]], tokens: int) -> Step:
    """One micro-batch of at least so many tokens; rows are repeated where there are too few."""
    taken: list[list[Window]] = []
    for row in cycle(rows):
        taken.append(row)
        tokens -= sum(window.num_tokens for window in row)
        if tokens <= 0:
            break
    return make_step(task, taken, max_tokens=2**60)


def _peak(task: Task[Any, Any], network: nn.Module, step: Step, precision: Precision) -> int:
    outside = [*network.parameters(), *network.buffers()]
    with TensorBytes([*outside, *(parameter.grad for parameter in outside if parameter.grad is not None)]) as seen:
        backward(task, network, step, step.facts.counts, precision)
    peak: int = seen.peak
    return peak


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
