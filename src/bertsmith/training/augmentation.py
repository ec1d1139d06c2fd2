"""Training examples made harder than they are: typos, dropped words, pieces behind [MASK]. Never in evaluation or use.

What is drawn belongs to (seed, epoch, sample) alone, as masks do, so that a run that goes on draws the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from bertsmith.data.batch import Window
from bertsmith.errors import SettingsError
from bertsmith.settings import Settings
from bertsmith.tasks.task import Example, Task
from bertsmith.text.noise import TextChange, typos, word_dropout
from bertsmith.text.tokenizer import Tokenizer


class AugmentationSettings(Settings):
    """How much of each training example is changed, anew in every epoch; 0: nothing."""

    word_dropout: float = Field(0.0, ge=0, lt=1, description="share of the words left out of training texts")
    typo_rate: float = Field(0.0, ge=0, le=1, description="share of the words of training texts that get a typo")
    mask_substitution: float = Field(0.0, ge=0, lt=1, description="share of the pieces shown as [MASK] in training")

    @property
    def text_changes(self) -> tuple[TextChange, ...]:
        """In the order in which they are made: a dropped word needs no typo."""
        dropped = (word_dropout(self.word_dropout),) if self.word_dropout else ()
        return (*dropped, *((typos(self.typo_rate),) if self.typo_rate else ()))

    def check(self, task: Task[Any, Any]) -> None:
        """Raises `SettingsError` for what would make the answers of this task wrong."""
        asked = {"word_dropout": self.word_dropout, "typo_rate": self.typo_rate}
        asked["mask_substitution"] = self.mask_substitution
        names = [name for name, share in asked.items() if share]
        if names and task.changeable == "never":
            raise SettingsError(f"{names[0]}: {task.name} learns from a corpus as it is, and masks pieces itself")
        for change in self.text_changes:
            if not task.takes(change):
                raise SettingsError(
                    f"{names[0]}: answers of {task.name} stand at places in the text, which {change.name} move; "
                    "typo_rate and mask_substitution do not"
                )


AS_IT_IS = AugmentationSettings()


def encode_augmented(
    task: Task[Any, Any], item: Any, tokenizer: Tokenizer, rng: np.random.Generator, settings: AugmentationSettings
) -> list[Window]:
    """As `task.encode`, of the example with its texts changed and some of its pieces hidden.

    Without any of it the generator is the task's alone, and gives what it gives elsewhere.
    """
    for change in settings.text_changes:
        assert isinstance(item, Example)
        item = task.changed(item, change, rng)
    windows = task.encode(item, tokenizer, rng)
    if not settings.mask_substitution:
        return windows
    return [_masked(window, tokenizer, rng, settings.mask_substitution) for window in windows]


def _masked(window: Window, tokenizer: Tokenizer, rng: np.random.Generator, share: float) -> Window:
    """Each piece but the special ones becomes [MASK] with the probability `share`; its targets stay."""
    ids = np.array(window.input_ids)
    hidden = (rng.random(len(ids)) < share) & ~np.isin(ids, tokenizer.special_ids)
    ids[hidden] = tokenizer.mask_id
    return replace(window, input_ids=ids)
