"""How a run trains: its length, its learning rate, its pieces, what it writes, and what it does where numbers end."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from bertsmith.data.order import steps_per_epoch
from bertsmith.runtime.device import Precision
from bertsmith.settings import Settings
from bertsmith.training.augmentation import AugmentationSettings
from bertsmith.training.optimizer import OptimizerSettings
from bertsmith.training.parallel import DataParallel
from bertsmith.training.schedule import ScheduleName, learning_rate_fraction
from bertsmith.training.trackers import TRACKERS, tracker_names

DEFAULT_LEARNING_RATE = 5e-5
DEFAULT_EPOCHS = 3.0
"""Of fine-tuning a pre-trained model, from the middle of what Devlin et al. 2019, appendix A.3, tried."""

NonFinite = Literal["stop", "skip", "rollback"]


class TrainingSettings(Settings):
    """How long, how fast and in which pieces to train."""

    num_train_epochs: float | None = Field(
        None, gt=0, description="passes over the training data; None: 3, or 10 for new weights"
    )
    max_steps: int | None = Field(None, ge=1, description="optimizer steps; overrides the epochs")
    max_minutes: float | None = Field(
        None, gt=0, description="train so long, evaluations included: steps that are timed first decide their number"
    )
    per_device_train_batch_size: int = Field(32, ge=1, description="examples an optimizer step")
    max_tokens_per_micro_batch: int = Field(
        8192, ge=1, description="tokens a forward pass; only splits a step, never changes what is in it"
    )
    learning_rate: float | None = Field(
        None, gt=0, description="peak learning rate; None: 5e-5, or 5e-4 for new weights"
    )
    lr_scheduler_type: ScheduleName = Field("linear", description="how the learning rate falls after warm-up")
    warmup_fraction: float = Field(0.1, ge=0, lt=1, description="share of all steps in which the learning rate rises")
    decay_fraction: float = Field(0.2, gt=0, le=1, description="share of all steps in which a trapezoid falls")
    optimizer: OptimizerSettings = OptimizerSettings()
    eval_steps: int | None = Field(None, ge=1, description="evaluate every so many steps; None: after every epoch")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better one; None: never"
    )
    metric_for_best_model: str | None = Field(None, description="metric of the best checkpoint; None: the task's")
    logging_steps: int = Field(10, ge=1, description="steps between two lines of the log")
    save_steps: int = Field(500, ge=1, description="steps between two checkpoints, from which a run can go on")
    save_total_limit: int = Field(2, ge=1, description="checkpoints to keep; older ones are deleted")
    non_finite: NonFinite = Field(
        "stop", description="a loss that is no number: stop, skip the step, or rollback to the last checkpoint and skip"
    )
    report_to: Annotated[tuple[str, ...], BeforeValidator(tracker_names)] = Field(
        ("tensorboard",), description=f"where figures go too: {', '.join(TRACKERS)}, or none"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="decides new weights, order, masks and dropout")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    data_parallel: DataParallel = Field(
        "ddp", description="of several processes: ddp, all weights in each; fsdp, weights and moments in pieces"
    )
    process_timeout_seconds: float = Field(
        600, gt=0, description="of several processes: how long one may not answer before the run ends"
    )
    fixed_copies: int | None = Field(
        None, ge=1, description="encode each example in so many fixed ways, repeated; None: afresh in every epoch"
    )
    augmentation: AugmentationSettings = AugmentationSettings()
    adversarial_epsilon: float | None = Field(
        None,
        gt=0,
        description="train also with each text's embeddings moved so far where it hurts most (Miyato et al. 2017), in "
        "twice the time; None: off",
    )

    def num_steps(self, num_samples: int) -> int:
        """Optimizer steps of a run over `num_samples`."""
        per_epoch = steps_per_epoch(num_samples, self.per_device_train_batch_size)
        return self.max_steps or max(1, math.ceil((self.num_train_epochs or DEFAULT_EPOCHS) * per_epoch))

    @property
    def peak_learning_rate(self) -> float:
        return self.learning_rate or DEFAULT_LEARNING_RATE

    def learning_rate_at(self, step: int, num_steps: int) -> float:
        """Of optimizer step `step`, counted from 0, of a run of `num_steps`."""
        warmup_steps = round(self.warmup_fraction * num_steps)
        return self.peak_learning_rate * learning_rate_fraction(
            self.lr_scheduler_type, step, num_steps, warmup_steps, self.decay_fraction
        )
