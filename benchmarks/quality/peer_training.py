"""How the peers' trainers train: the hyper-parameters of a set under the names of `transformers`."""

from __future__ import annotations

from typing import Any

from bertsmith.runtime.device import pick_device, pick_precision
from quality.sets import BATCH_SIZE, MAX_GRAD_NORM, WARMUP_FRACTION, WEIGHT_DECAY, QualitySet

CPU = pick_device("cpu")
DTYPE = pick_precision("auto", CPU)
"""As bertsmith picks it: bf16 where the machine multiplies it in hardware."""


def training_values(quality: QualitySet, seed: int) -> dict[str, Any]:
    """How every `Trainer` trains on a set."""
    return {
        "num_train_epochs": quality.num_epochs,
        "per_device_train_batch_size": BATCH_SIZE,
        "learning_rate": quality.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": WARMUP_FRACTION,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "seed": seed,
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 100,
        "disable_tqdm": True,
        "bf16": DTYPE == "bf16",
    }
