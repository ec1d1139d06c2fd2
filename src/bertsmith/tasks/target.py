"""What an explanation explains: a number that a network computes from some windows, and how people name it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Window
from bertsmith.errors import SettingsError, nearest
from bertsmith.text.tokenizer import Tokenizer

Unit: TypeAlias = Literal["log-odds", "log-probability", "score"]
Outputs: TypeAlias = Callable[[nn.Module, Batch], list[Any]]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request with all that was said of it. outputs: of each window, in order, as the task's `outputs` gives them."""

    request: Any
    tokenizer: Tokenizer
    windows: Sequence[Any]
    outputs: Sequence[Any]
    prediction: Any


@dataclass(frozen=True)
class Target:
    """name: for people. unit: of the number; log-odds and log-probabilities have a probability.

    numbers: which of the request's windows it is computed from. windows: these. scores: the number of each copy, [k],
    from a batch of k copies of these windows one after another. reads: in each window the places that the network's
    head reads, from which attention is looked at.
    """

    name: str
    unit: Unit
    numbers: tuple[int, ...]
    windows: tuple[Window, ...]
    scores: Callable[[nn.Module, Batch], Tensor]
    reads: tuple[tuple[int, ...], ...]

    @classmethod
    def over(
        cls,
        answered: Answered,
        numbers: Iterable[int],
        outputs: Outputs,
        value: Callable[[Sequence[Any]], Tensor],
        *,
        name: str,
        unit: Unit = "score",
        reads: tuple[tuple[int, ...], ...] | None = None,
    ) -> Self:
        """outputs: those of the task. value: from those of the windows, in order, to the number.

        reads: the first token of each window unless given.
        """
        chosen = tuple(numbers)

        def scores(network: nn.Module, batch: Batch) -> Tensor:
            found = outputs(network, batch)
            starts = range(0, len(found), len(chosen))
            return torch.stack([value(found[start : start + len(chosen)]) for start in starts])

        windows = tuple(answered.windows[number] for number in chosen)
        return cls(name, unit, chosen, windows, scores, reads or ((0,),) * len(chosen))

    def likelihood(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """The probabilities that scores stand for; the scores themselves where they stand for none."""
        values = np.asarray(scores, dtype=np.float64)
        match self.unit:
            case "log-odds":
                # As such, since exp(-x) overflows.
                return np.asarray(0.5 * (1 + np.tanh(values / 2)))
            case "log-probability":
                return np.exp(values)
        return values


def log_odds(scores: Tensor, index: int) -> Tensor:
    """[L] -> log(p / (1 - p)) of the softmax's share p of one of them: a number without bounds, unlike p."""
    others = torch.cat((scores[:index], scores[index + 1 :]))
    return scores[index] - others.logsumexp(0)


def one_of(choice: str, known: Iterable[str], what: str) -> str:
    """`choice`, if it is one of the names. Raises `SettingsError` with the nearest one."""
    names = list(known)
    if choice not in names:
        raise SettingsError(f"no {what} {choice!r:.80}; {nearest(choice, names)}")
    return choice


def place_of(choice: str, known: range, what: str, names: Sequence[str] = ()) -> int:
    """A place by its number from 0, or by its name, of several the first. Raises `SettingsError` for any other."""
    text = choice.strip()
    if text.isdecimal() and len(text) < 10 and int(text) in known:
        return int(text)
    if text in names:
        return list(names).index(text)
    span = f"0 to {known.stop - 1}" if len(known) > 1 else "0 alone"
    or_name = f", or one of {', '.join(names[:10])}" if names and len(", ".join(names[:10])) < 200 else ""
    raise SettingsError(f"no {what} {text!r:.80}: expected a number, {span}{or_name}")
