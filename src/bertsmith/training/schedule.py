"""The learning rate over a run, as a fraction of its peak. Knows numbers only."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["linear", "cosine", "trapezoid", "constant"]


def learning_rate_fraction(
    schedule: ScheduleName, step: int, num_steps: int, warmup_steps: int, decay_fraction: float = 0.2
) -> float:
    """Fraction of the peak learning rate at optimizer step `step`, counted from 0.

    Warm-up rises linearly and reaches 1 at step `warmup_steps`. Then `linear` falls to 0 at `num_steps` (Devlin et al.
    2019, appendix A.2), `cosine` along half a cosine (Loshchilov and Hutter 2017), `trapezoid` stays at 1 and falls
    linearly over the last `decay_fraction` of all steps (Zhai et al. 2022), `constant` stays.

    >>> [round(learning_rate_fraction("linear", step, 10, 2), 3) for step in (0, 1, 2, 6, 9)]
    [0.333, 0.667, 1.0, 0.5, 0.125]
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    after = max(1, num_steps - warmup_steps)
    left = max(0.0, (num_steps - step) / after)
    match schedule:
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
        case "trapezoid":
            return min(1.0, max(0.0, (num_steps - step) / max(1.0, decay_fraction * num_steps)))
        case "constant":
            return 1.0
