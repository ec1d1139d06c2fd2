"""A step of pre-training on a GPU: bertsmith's trainer and transformers' `BertForPreTraining` in a loop, in turns.

Both take the same windows with the same masks, encoded a step ahead by a second thread, with dropout, fused AdamW and
clipping, bf16 products over fp32 weights. transformers pads a step's rows to one batch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pretraining import Job, Peer, TakingTurns
from speed.measure import median, ratio
from torch import Tensor

from bertsmith.data.passages import Passages
from bertsmith.files import write_json
from bertsmith.model.checkpoints import CONFIG, config_to_hugging_face, save_weights
from bertsmith.model.presets import preset
from bertsmith.runtime.device import autocast
from bertsmith.runtime.progress import Phase, Progress
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train
from gpu.inference import VOCAB_SIZE, vocabulary

BATCH_SIZE, BLOCK_STEPS = 256, 4
BUDGETS = (32_768, 8192)
"""Tokens of a micro-batch of bertsmith's: what a step holds, in turns with the peers, and the default, apart."""


class MadeUpCorpus:
    """Documents of random sentences, 8 to 32 tokens each."""

    num_documents = 2000
    sentences_per_document = 20

    @cached_property
    def sentence_lengths(self) -> NDArray[Any]:
        return np.random.default_rng(0).integers(8, 33, self.num_documents * self.sentences_per_document)

    @cached_property
    def _ids(self) -> NDArray[Any]:
        # Zipf's law, as words have it.
        ranks = np.random.default_rng(1).zipf(1.1, int(self.sentence_lengths.sum()))
        return 5 + ranks % (VOCAB_SIZE - 5)

    @cached_property
    def _starts(self) -> NDArray[Any]:
        return np.concatenate([[0], np.cumsum(self.sentence_lengths)])

    def document_sentences(self, document: int) -> range:
        first = document * self.sentences_per_document
        return range(first, first + self.sentences_per_document)

    def sentence(self, index: int) -> NDArray[Any]:
        return self._ids[self._starts[index] : self._starts[index + 1]]

    def marks(self, index: int) -> NDArray[Any] | None:
        return None


def measure_pretraining(device: torch.device, rounds: int, small: bool) -> list[dict[str, Any]]:
    """Rows of each size and system."""
    tokenizer = Tokenizer.from_vocab(vocabulary())
    task = Pretraining(PretrainingSettings(max_length=128))
    passages = Passages(MadeUpCorpus(), max_tokens=125)
    found = []
    size, peers_of = "mini" if small else "base", True
    for budget in BUDGETS:
        settings = TrainingSettings(
            max_steps=(rounds + 2) * BLOCK_STEPS,
            per_device_train_batch_size=8 if small else BATCH_SIZE,
            max_tokens_per_micro_batch=budget,
            learning_rate=1e-4,
            logging_steps=1,
            precision="bf16",
            device=device.type,
        )
        job = Job(task, tokenizer, passages, settings, settings.max_steps or 0)
        found += _rows(job, size, device, with_peers=peers_of)
        peers_of = False
    return found


def _rows(job: Job, size: str, device: torch.device, *, with_peers: bool) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    network = job.task.build(preset(size, vocab_size=VOCAB_SIZE))
    peers: dict[str, GpuPeer] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / CONFIG, config_to_hugging_face(network))
        save_weights(network, Path(folder))
        if with_peers:
            peers["transformers"] = GpuPeer(job, Path(folder), device)
        if with_peers and device.type == "cuda":
            peers["transformers, torch.compile"] = GpuPeer(job, Path(folder), device, compiled=True)
    with Progress().phase("in turns", total=job.num_steps, unit="steps") as phase:
        turns = SettledTurns(phase, list(peers.values()), BLOCK_STEPS)
        result = train(job.task, network, job.tokenizer, job.passages, job.settings, progress=turns)
    counted = [sum(window.num_tokens for window in job.windows(step)) for step in range(job.num_steps)]
    tokens = np.add.reduceat(counted, range(0, job.num_steps, BLOCK_STEPS))[2:]
    ours = np.array(turns.own_seconds[2:])
    own_losses = [values["mlm"] + values["next"] for _, values in result.history]
    budget = job.settings.max_tokens_per_micro_batch
    rows = [_row(f"bertsmith, {budget:,} tokens a micro-batch", size, tokens, ours, ours, own_losses)]
    rows[0] |= {"of_the_limit": turns.share, "stalled_seconds": result.stalled_seconds, "seconds": result.seconds}
    if not with_peers:
        rows[0]["to_bertsmith"] = "apart"
    for (name, peer), seconds in zip(peers.items(), turns.peer_seconds, strict=True):
        rows.append(_row(name, size, tokens, np.array(seconds[2:]), ours, peer.losses))
    for row in rows:
        print(row, flush=True)
    return rows


def _row(
    name: str,
    size: str,
    tokens: NDArray[Any],
    seconds: NDArray[Any],
    ours: NDArray[Any],
    losses: Sequence[float],
) -> dict[str, Any]:
    return {
        "size": size,
        "system": name,
        "tokens_per_second": median(tokens / seconds).middle,
        "to_bertsmith": str(ratio(seconds.tolist(), ours.tolist())),
        "losses": [float(np.mean(losses[at : at + BLOCK_STEPS])) for at in (0, len(losses) - BLOCK_STEPS)],
    }


class SettledTurns(TakingTurns):
    """Turns that begin and end with a GPU that has done all it was given. share: of the products' limit, at the end."""

    share = ""

    def drawn(self, phase: Phase) -> None:
        if phase.done % self._block_steps == 0:
            _settle()
            self.share = str(phase.shown.get("of the products' limit", ""))
        super().drawn(phase)


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class GpuPeer(Peer):
    """transformers' loop on `device`, through SDPA, compiled if wanted."""

    def __init__(self, job: Job, folder: Path, device: torch.device, *, compiled: bool = False):
        super().__init__("sdpa", job, folder, job.settings.seed)
        self.device = device
        self.model.to(device)
        if compiled:
            self.model = torch.compile(self.model, dynamic=True)

    def run(self, num_steps: int) -> float:
        # bertsmith's steps are the same bits every time; nobody asks that of these.
        mode = torch.get_deterministic_debug_mode()
        torch.use_deterministic_algorithms(False)
        _settle()
        started = time.perf_counter()
        for _ in range(num_steps):
            next(self.steps)
        _settle()
        seconds = time.perf_counter() - started
        torch.set_deterministic_debug_mode(mode)
        return seconds

    def _step(self, batches: Sequence[Mapping[str, Tensor]], learning_rate: float) -> float:
        (batch,) = batches
        self.optimizer.zero_grad(set_to_none=True)
        pinned = self.device.type == "cuda"
        given = {
            name: (value.pin_memory() if pinned else value).to(self.device, non_blocking=True)
            for name, value in batch.items()
        }
        with autocast(self.job.settings.precision, self.device):
            loss = self.model(**given).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.job.settings.optimizer.max_grad_norm or 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return float(loss.detach())
