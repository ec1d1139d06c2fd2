"""Pre-training beside the peer: bertsmith's trainer and transformers' `BertForPreTraining` in a plain PyTorch loop.

    python benchmarks/pretraining.py --work-dir runs/benchmark [--steps 300] [--dropout 0] [--threads 2] [--json]

Both sides start from the same weights and take the same steps: the same windows with the same masks in the same order,
encoded one step ahead by a second thread, AdamW with the same groups, schedule and clipping, in the same precision.
They take turns, a block of steps each, so that a busy machine slows both alike; speed counts real tokens, not padding.
With dropout the peer runs twice, on two streams of random numbers, which shows how far apart equal runs end up; with
`--dropout 0` nothing is random, and the curves must be one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.artifact import versions
from bertsmith.data.batch import Window
from bertsmith.data.corpus import MANIFEST, Corpus
from bertsmith.data.order import sample_rng, step_samples
from bertsmith.data.passages import Passages
from bertsmith.evaluation.plots import Line, curves
from bertsmith.evaluation.report import Page, bullets, figure, paragraph, table
from bertsmith.files import atomic_file, open_bytes, write_json
from bertsmith.model.checkpoints import CONFIG, config_to_hugging_face, save_weights
from bertsmith.model.networks import PretrainingNetwork
from bertsmith.model.presets import preset
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.runtime.device import autocast, pick_device, pick_precision
from bertsmith.runtime.progress import Phase, Progress, duration, progress_for
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece
from bertsmith.training.schedule import learning_rate_fraction
from bertsmith.training.trainer import TrainingSettings, train

TEXT = Path(__file__).resolve().parents[1] / "../shared/data/text/enwiki2015/enwiki.part00.txt.xz"
IGNORED = -100
"""The label of a place that transformers leaves out of its loss."""
CPU = torch.device("cpu")
NUM_DRAWS = 10_000


# --- the job ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What both sides train on, and how."""

    task: Pretraining
    tokenizer: Tokenizer
    passages: Passages
    settings: TrainingSettings
    num_steps: int

    def windows(self, step: int) -> list[Window]:
        """What bertsmith's trainer draws for this step."""
        seed = self.settings.seed
        epoch, indices = step_samples(step, len(self.passages), self.settings.per_device_train_batch_size, seed)
        return [
            window
            for index in indices.tolist()
            for window in self.task.encode(self.passages[index], self.tokenizer, sample_rng(seed, epoch, index))
        ]

    def learning_rate(self, step: int) -> float:
        name, warmup_steps = self.settings.lr_scheduler_type, round(self.settings.warmup_fraction * self.num_steps)
        return self.settings.learning_rate * learning_rate_fraction(name, step, self.num_steps, warmup_steps)


def prepared(args: argparse.Namespace, progress: Progress) -> tuple[Tokenizer, Corpus]:
    """Vocabulary and corpus of the text, from the work folder where an earlier run has left them."""
    size = "whole" if args.megabytes is None else f"{args.megabytes:g}MB"
    folder = args.work_dir / f"{args.text.name.partition('.txt')[0]}-{size}-{args.vocab_size}"
    corpus = folder / "corpus"
    if not (corpus / MANIFEST).is_file():
        text = args.text if args.megabytes is None else _first_articles(args.text, args.megabytes, folder / "text.txt")
        settings = WordPieceSettings(vocab_size=args.vocab_size)
        learn_wordpiece([text], settings, progress).tokenizer().save(folder / "tokenizer")
        prepare(PrepareSettings(files=(text,), tokenizer=folder / "tokenizer", output_dir=corpus), progress)
    return Tokenizer.load(corpus), Corpus.open(corpus)


def _first_articles(text: Path, megabytes: float, target: Path) -> Path:
    """The first articles of `text`, whole ones, together at least `megabytes`."""
    with open_bytes(text) as lines, atomic_file(target) as temporary, temporary.open("wb") as out:
        for line in lines:
            out.write(line)
            if out.tell() >= megabytes * 1e6 and line.startswith(b"</doc>"):
                break
    return target


# --- the peer --------------------------------------------------------------------------------------------------------


class Peer:
    """`BertForPreTraining` in a plain loop, with its own stream of random numbers. Each call of `run` goes on."""

    def __init__(self, name: str, job: Job, folder: Path, attention: str, rows: int | None, seed: int):
        from transformers import BertForPreTraining

        self.name, self.rows, self.job = name, rows, job
        self.model: Any = BertForPreTraining.from_pretrained(folder, attn_implementation=attention)
        self.model.train()
        settings = job.settings.optimizer
        weights = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in weights if w.ndim >= 2], "weight_decay": settings.weight_decay},
                {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
            ],
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            fused=True,
        )
        self.random_state = torch.Generator().manual_seed(seed).get_state()
        self.steps = self._steps()
        self.losses: list[float] = []
        self.num_tokens: list[int] = []

    def run(self, num_steps: int) -> float:
        """Take `num_steps` steps; the seconds they took."""
        with torch.random.fork_rng():
            torch.random.set_rng_state(self.random_state)
            started = time.perf_counter()
            for _ in range(num_steps):
                next(self.steps)
            seconds = time.perf_counter() - started
            self.random_state = torch.random.get_rng_state()
        return seconds

    def _steps(self) -> Iterator[None]:
        job = self.job
        with ThreadPoolExecutor(max_workers=1) as pool:
            coming = pool.submit(self._batches, 0)
            for step in range(job.num_steps):
                batches = coming.result()
                if step + 1 < job.num_steps:
                    coming = pool.submit(self._batches, step + 1)
                self.num_tokens.append(sum(int(batch["attention_mask"].sum()) for batch in batches))
                self.losses.append(self._step(batches, job.learning_rate(step)))
                yield

    def _batches(self, step: int) -> list[dict[str, Tensor]]:
        windows = self.job.windows(step)
        if self.rows is None:
            return [padded(windows, self.job.tokenizer.pad_id)]
        windows.sort(key=lambda window: -window.num_tokens)
        parts = (windows[at : at + self.rows] for at in range(0, len(windows), self.rows))
        return [padded(part, self.job.tokenizer.pad_id) for part in parts]

    def _step(self, batches: Sequence[Mapping[str, Tensor]], learning_rate: float) -> float:
        num_masked = sum(int((batch["labels"] != IGNORED).sum()) for batch in batches)
        num_rows = sum(len(batch["labels"]) for batch in batches)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(())
        for batch in batches:
            with autocast(self.job.settings.precision, CPU):
                loss = self._loss(batch, num_masked, num_rows, whole=len(batches) == 1)
            loss.backward()
            total += loss.detach()
        limit = self.job.settings.optimizer.max_grad_norm
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if limit is None else limit)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return float(total)

    def _loss(self, batch: Mapping[str, Tensor], num_masked: int, num_rows: int, *, whole: bool) -> Tensor:
        """The model's own loss of a whole batch; of a part of it, its share of that."""
        if whole:
            loss: Tensor = self.model(**batch).loss
            return loss
        inputs = {name: values for name, values in batch.items() if not name.endswith(("labels", "label"))}
        out = self.model(**inputs)
        tokens, sentences = out.prediction_logits.flatten(0, 1), out.seq_relationship_logits
        masked = F.cross_entropy(tokens, batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum")
        nsp = F.cross_entropy(sentences, batch["next_sentence_label"], reduction="sum")
        return masked / num_masked + nsp / num_rows


def padded(windows: Sequence[Window], pad_id: int) -> dict[str, Tensor]:
    """The inputs and labels of transformers' model, padded to the longest window: [n, L], and [n] for the sentences."""
    shape = (len(windows), max(window.num_tokens for window in windows))
    fills = {"input_ids": pad_id, "token_type_ids": 0, "attention_mask": 0, "labels": IGNORED}
    arrays = {name: np.full(shape, fill, dtype=np.int64) for name, fill in fills.items()}
    for row, window in enumerate(windows):
        arrays["input_ids"][row, : window.num_tokens] = window.input_ids
        arrays["token_type_ids"][row, : window.num_tokens] = window.token_type_ids
        arrays["attention_mask"][row, : window.num_tokens] = 1
        arrays["labels"][row, window.targets["places"]] = window.targets["labels"]
    batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return batch | {"next_sentence_label": torch.tensor([window.targets["sentence"] for window in windows])}
