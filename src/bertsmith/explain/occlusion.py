"""Explanation by taking away: what the explained number loses where [MASK] stands for a word (Zeiler, Fergus 2014)."""

from __future__ import annotations

import numpy as np

from bertsmith.explain.gradients import Attribution
from bertsmith.explain.subject import Subject


def occlusion(subject: Subject) -> Attribution:
    """Each word by itself, in all windows that hold it. Words that say the same twice can both seem to say nothing."""
    without = ~np.eye(subject.num_words, dtype=np.bool_)
    return Attribution(subject.score - subject.scores(without))
