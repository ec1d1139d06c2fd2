"""Steps far outside what was usual, by the running median of each figure. Knows numbers by name; changes nothing.

Losses and gradient norms vary by factors, so distance is measured in logarithms: a fine-tuning loss that jumps between
0.01 and 0.1 is usual, a pre-training loss that goes from 2.1 to 3 is not.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW_STEPS = 100
LEAST_STEPS = 20
"""Before so many steps nothing is usual yet."""
LARGEST_DISTANCE = 6.0
"""In standard deviations; of normally distributed figures one in a thousand million lies above."""
DEVIATION_OF_MAD = 1.4826
"""The standard deviation of a normal distribution whose median absolute deviation is 1."""
LEAST_DEVIATION = 0.05
"""In logarithms: a figure that hardly moves may move by a third before it is a spike."""
LEAST_FIGURE = 1e-4
"""Below it all are alike: a loss that is zero for most steps would make a spike of every other."""


@dataclass(frozen=True)
class Spike:
    """usual: the median of the steps before. limit: what was still usual."""

    name: str
    value: float
    usual: float
    limit: float

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g}, usually {self.usual:.4g} and at most {self.limit:.4g}"


@dataclass
class Spikes:
    """recent: the figures of the last `WINDOW_STEPS` steps, by name; what a checkpoint keeps."""

    recent: dict[str, list[float]] = field(default_factory=dict)

    def see(self, figures: Mapping[str, float]) -> list[Spike]:
        """The next step's figures: those far above the steps before it. All are finite."""
        found = []
        for name, value in figures.items():
            before = self.recent.setdefault(name, [])
            if len(before) >= LEAST_STEPS:
                usual, limit = _usual(before)
                if value > limit:
                    found.append(Spike(name, value, usual, limit))
            before.append(value)
            del before[:-WINDOW_STEPS]
        return found


def _usual(values: list[float]) -> tuple[float, float]:
    """The median and the largest value that is no spike."""
    logs = [math.log(max(value, LEAST_FIGURE)) for value in values]
    middle = statistics.median(logs)
    deviation = DEVIATION_OF_MAD * statistics.median(abs(value - middle) for value in logs)
    return math.exp(middle), math.exp(middle + LARGEST_DISTANCE * max(deviation, LEAST_DEVIATION))
