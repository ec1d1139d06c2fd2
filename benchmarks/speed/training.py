"""Fine-tuning MiniLM: examples a second of bertsmith's trainer and of the peers', in turns.

All start from the checkpoint and train on the same rows, with dropout, in steps of one size; the time is that of
training alone, tokenization included. Of `transformers`' Trainer, `best` is bf16 in batches grouped by length and
`default` fp32 in random ones; at SQuAD's lengths the peer is its model in a plain PyTorch loop, bf16, by length.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from quality.ours import make_examples, make_task
from quality.peer_answers import answer_windows, train_answers
from quality.rows import Rows, read_rows
from quality.sets import SETS, QualitySet
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from bertsmith.recipes.start import start_from
from bertsmith.runtime.progress import Progress
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train
from speed.measure import in_turns, median, ratio

OURS = "bertsmith"
NUM_EXAMPLES = {"sst2": 1920, "squad": 192}
WORK = (("SST-2", "sst2", 32), ("SST-2", "sst2", 128), ("SQuAD 1.1, up to 384 tokens", "squad", 32))


def measure_training(model: Path, data_dir: Path, rounds: int, fraction: float = 1.0) -> list[dict[str, Any]]:
    """A row for each piece of work and system."""
    found = []
    for title, name, batch_size in WORK:
        quality = replace(SETS[name], num_epochs=1, num_train=int(NUM_EXAMPLES[name] * fraction), num_test=1)
        rows = read_rows(quality, data_dir)
        systems: dict[str, Callable[[], Any]] = {OURS: _ours(model, quality, rows, batch_size)}
        if name == "squad":
            systems["transformers, bf16, grouped by length"] = _loop(model, quality, rows)
        else:
            systems["Trainer, best"] = _trainer(model, rows, batch_size, best=True)
            systems["Trainer, default"] = _trainer(model, rows, batch_size, best=False)
        seconds = in_turns(systems, rounds)
        found += [
            {
                "work": title,
                "batch_size": batch_size,
                "system": system,
                "examples_per_second": len(rows.train) / median(taken).middle,
                "ours_is_faster_by": str(ratio(taken, seconds[OURS])),
            }
            for system, taken in seconds.items()
        ]
    return found


def _ours(model: Path, quality: QualitySet, rows: Rows, batch_size: int) -> Callable[[], Any]:
    task = make_task(quality, rows)
    examples = make_examples(task, rows.train)
    changes = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    settings = TrainingSettings(num_train_epochs=1, per_device_train_batch_size=batch_size, device="cpu")
    start = start_from(task.fitted(examples), str(model), changes)
    return lambda: train(start.task, start.network, start.tokenizer, examples, settings, progress=Progress())


def _trainer(model: Path, rows: Rows, batch_size: int, *, best: bool) -> Callable[[], Any]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    labels = sorted({record["label"] for record in rows.train})

    def run() -> None:
        encoded = tokenizer([record["text"] for record in rows.train], truncation=True, max_length=128)
        features = [
            {name: encoded[name][i] for name in encoded} | {"labels": labels.index(record["label"])}
            for i, record in enumerate(rows.train)
        ]
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder,
                per_device_train_batch_size=batch_size,
                num_train_epochs=1,
                bf16=best,
                train_sampling_strategy="group_by_length" if best else "random",
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_steps=500,
                disable_tqdm=True,
            )
            Trainer(
                model=network, train_dataset=features, data_collator=DataCollatorWithPadding(tokenizer), args=arguments
            ).train()

    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=len(labels))
    return run


def _loop(model: Path, quality: QualitySet, rows: Rows) -> Callable[[], Any]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForQuestionAnswering.from_pretrained(model, attn_implementation="eager")
    return lambda: train_answers(network, tokenizer, answer_windows(tokenizer, rows.train, quality), quality, 0)
