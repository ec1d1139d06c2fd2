"""Which tokens of which window an answer is, for an explanation: the one that was given, or one that is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertsmith.errors import SettingsError
from bertsmith.tasks.target import Answered
from bertsmith.text.align import Span, pieces_within


@dataclass(frozen=True, slots=True)
class ExplainedSpan:
    """window: its number. places: of the first and the last token in it. part: `start` or `end`, if that alone."""

    name: str
    window: int
    places: tuple[int, int]
    part: str | None


def explained_span(answered: Answered, choice: str | None) -> ExplainedSpan:
    """The answer given, or `choice`: a text, characters as 12-18, or `start` or `end` of the answer given.

    Raises `SettingsError` for what is not in the context, or in no window whole.
    """
    context, prediction = answered.request.context, answered.prediction
    part = choice if choice in ("start", "end") else None
    start, end = prediction.start, prediction.end
    if choice is not None and part is None:
        start, end = _asked(choice, context)
    if start == end:
        # No answer: start and end are both at [CLS], and it counts where it is least likely.
        sums = [float(outputs[0].sum()) for outputs in answered.outputs]
        return ExplainedSpan("no answer", sums.index(min(sums)), (0, 0), part)
    name = context[start:end] if part is None else f"the {part} of {context[start:end]}"
    held = [
        (number, places) for number, window in enumerate(answered.windows) if (places := _places(window, start, end))
    ]
    if not held:
        raise SettingsError(f"the answer {context[start:end]!r:.80} is in no window whole, so that it cannot be given")
    scores = [_score(answered.outputs[number], places) for number, places in held]
    number, places = held[scores.index(max(scores))]
    return ExplainedSpan(name, number, places, part)


def _asked(choice: str, context: str) -> Span:
    characters = re.fullmatch(r"(\d{1,9})-(\d{1,9})", choice.strip())
    if characters and choice not in context:
        start, end = map(int, characters.groups())
        if not 0 <= start < end <= len(context):
            raise SettingsError(f"characters {choice} are not within the context, which has {len(context)}")
        return start, end
    start = context.find(choice) if choice.strip() else -1
    if start < 0:
        raise SettingsError(
            f"no {choice!r:.80} in the context; an answer to explain is a part of it, or characters 12-18"
        )
    return start, start + len(choice)


def _places(window: Any, start: int, end: int) -> tuple[int, int] | None:
    """Of the first and the last token, if the window has the span without a gap."""
    within = pieces_within(window.offsets, start, end)
    if within is None or window.runs[within[0]] != window.runs[within[1]]:
        return None
    first, last = within
    whole = window.offsets[first][0] <= start and window.offsets[last][1] >= end
    return (window.context_start + first, window.context_start + last) if whole else None


def _score(outputs: Any, places: Sequence[int]) -> float:
    return float(outputs[places[0], 0] + outputs[places[1], 1])
