"""What a sweep tries: a range or a list for each setting, written on one line. Knows no trial.

learning_rate=1e-5..1e-4:log    num_train_epochs=2,3,4    batch_size=8..32    training.optimizer.weight_decay=0,0.01
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bertsmith.errors import SettingsError
from bertsmith.settings import Settings, find_setting, override

LOG = "log"


@dataclass(frozen=True)
class Dimension:
    """setting: its dotted name. choices: what is tried, or else all from `low` to `high`, whole numbers if both are."""

    setting: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False

    @property
    def name(self) -> str:
        """The last part, as people call it."""
        return self.setting.rpartition(".")[2]

    @property
    def is_range(self) -> bool:
        return not self.choices

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values that have to be possible for all to be."""
        return self.choices or (self.low, self.high)

    def __str__(self) -> str:
        if self.choices:
            words = (choice if isinstance(choice, str) else json.dumps(choice) for choice in self.choices)
            return f"{self.setting}={','.join(words)}"
        return f"{self.setting}={self.low:g}..{self.high:g}{':log' if self.is_log else ''}"


def search_space(cls: type[Settings], base: Mapping[str, Any], words: Iterable[str]) -> list[Dimension]:
    """The dimensions that the words name, each with its settings' approval: every choice and both ends of a range.

    Raises `SettingsError` for what cannot be read, is no setting, is named twice, or is no value of its setting.
    """
    space = [_dimension(cls, word) for word in words]
    if not space:
        raise SettingsError("space: say what to try: --space learning_rate=1e-5..1e-4:log num_train_epochs=2,3,4")
    names = [dimension.setting for dimension in space]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"space: {name} is there twice")
    for dimension in space:
        for value in dimension.samples:
            cls.of(override(base, {dimension.setting: value}), f"space: {dimension}")
    return space


def _dimension(cls: type[Settings], word: str) -> Dimension:
    name, sign, values = word.partition("=")
    if not sign or not values:
        raise SettingsError(f"space: {word!r}: expected name=LOW..HIGH, name=LOW..HIGH:log or name=A,B,C")
    setting = find_setting(cls, name.strip())
    if ".." not in values:
        return Dimension(setting, tuple(map(_value, values.split(","))))
    values, colon, scale = values.partition(":")
    low, high = (_value(end) for end in values.split("..", 1))
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)) or not low < high:
        raise SettingsError(f"space: {word!r}: expected two numbers, the lower one first, as 1e-5..1e-4")
    if colon and scale != LOG:
        raise SettingsError(f"space: {word!r}: after the range comes :log or nothing")
    if scale == LOG and low <= 0:
        raise SettingsError(f"space: {word!r}: a logarithmic range begins above 0")
    if not all(map(math.isfinite, (low, high))):
        raise SettingsError(f"space: {word!r}: the ends of a range are finite")
    return Dimension(setting, (), low, high, scale == LOG)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()
