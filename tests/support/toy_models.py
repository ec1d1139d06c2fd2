"""A classifier that a run has trained in a moment, and files of reviews whose words tell the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from toys import WORDS, toy_config, toy_text, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.recipes.finetune import FinetuneReport, finetune, finetune_settings
from bertsmith.tasks.pretraining import Pretraining

LABELS = ("bad", "good")


def toy_reviews(path: Path, num_rows: int, seed: int, *, wrong: int = 0) -> Path:
    """Reviews from two shops: those whose words begin with b, d, f or g are good; the first `wrong` say otherwise."""
    rng = np.random.default_rng(seed)
    lines = ["review,sentiment,shop"]
    for i in range(num_rows):
        text = toy_text(rng, int(rng.integers(3, 9)), WORDS[:20] if i % 2 else WORDS[20:])
        lines.append(f"{text},{LABELS[(i + (i < wrong)) % 2]},{'north' if i % 3 else 'south'}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def toy_bert(folder: Path) -> Path:
    """An untrained network to fine-tune."""
    torch.manual_seed(0)
    task = Pretraining()
    save_artifact(folder, Artifact(task, task.build(toy_config()), toy_tokenizer()))
    return folder


def toy_classifier(folder: Path, train_file: Path, *, max_steps: int = 40, **more: Any) -> FinetuneReport:
    """A classifier in `folder`, trained on the reviews in `train_file`."""
    training = {
        "max_steps": max_steps,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "precision": "fp32",
        "device": "cpu",
        **more.pop("training", {}),
    }
    values = {"train_file": train_file, "output_dir": folder, "training": training, **more}
    return finetune("classification", finetune_settings("classification").of(values))
