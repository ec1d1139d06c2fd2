"""Which tokens a masked language model has to guess, and what it sees in their place. Knows ids only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertsmith.data.marks import CONTINUES_ENTITY, CONTINUES_PHRASE, CONTINUES_WORD
from bertsmith.settings import Settings

Ids = NDArray[Any]


class MaskingSettings(Settings):
    """How tokens are chosen and replaced (Devlin et al. 2019, section 3.1 and appendix A.1)."""

    mask_unit: Literal["token", "word", "span", "phrase", "entity"] = Field(
        "token",
        description="what is masked as one: a piece, a whole word, a span of words (Joshi et al. 2020), or, with a "
        "corpus that was prepared with a dictionary, its phrases, or the entities among them (Sun et al. 2019)",
    )
    mask_fraction: float = Field(0.15, gt=0, lt=1, description="share of the tokens to guess")
    max_masked_tokens: int | None = Field(None, ge=1, description="at most so many a sequence; None: no limit")
    replace_mask_fraction: float = Field(0.8, ge=0, le=1, description="share of them shown as [MASK]")
    replace_random_fraction: float = Field(0.1, ge=0, le=1, description="share shown as a random token; the rest stays")
    mean_span_words: float = Field(
        5.0, ge=1, description="mean length of a span before the limit (3.8 after it), in words"
    )
    max_span_words: int = Field(10, ge=1, description="longest span, in words")


CONTINUING: Final[dict[str, int]] = {
    "token": 0,
    "word": CONTINUES_WORD,
    "span": CONTINUES_WORD,
    "phrase": CONTINUES_WORD | CONTINUES_PHRASE,
    "entity": CONTINUES_WORD | CONTINUES_ENTITY,
}
"""Which marks join a token to the one before it, for each unit."""


@dataclass(frozen=True, slots=True)
class Masked:
    """input_ids: [length] as the model sees them. places: [m] sorted. labels: [m] the ids that stood there."""

    input_ids: Ids
    places: Ids
    labels: Ids


def mask_tokens(
    input_ids: Ids,
    maskable: NDArray[np.bool_],
    continues_word: NDArray[np.bool_],
    settings: MaskingSettings,
    *,
    mask_id: int,
    ordinary_ids: Ids,
    rng: np.random.Generator,
) -> Masked:
    """Choose and replace tokens of one sequence.

    input_ids [length]; maskable: not a special token; continues_word: belongs to the word of the token before it;
    ordinary_ids: what a random replacement is drawn from. At least one token is chosen where any is maskable.
    """
    candidates = np.flatnonzero(maskable)
    if not len(candidates):
        return Masked(input_ids, candidates, candidates)
    wanted = max(1, round(len(candidates) * settings.mask_fraction))
    if settings.max_masked_tokens is not None:
        wanted = min(wanted, settings.max_masked_tokens)
    if settings.mask_unit == "token":
        places = np.sort(rng.permutation(candidates)[:wanted])
    else:
        starts_unit = maskable & ~(continues_word & np.concatenate(([False], maskable[:-1])))
        words = np.split(candidates, np.searchsorted(candidates, np.flatnonzero(starts_unit))[1:])
        places = _whole_words(words, wanted, settings, rng)
    shown = input_ids.copy()
    fate = rng.random(len(places))
    shown[places[fate < settings.replace_mask_fraction]] = mask_id
    at_random = places[
        (fate >= settings.replace_mask_fraction)
        & (fate < settings.replace_mask_fraction + settings.replace_random_fraction)
    ]
    shown[at_random] = ordinary_ids[rng.integers(len(ordinary_ids), size=len(at_random))]
    return Masked(shown, places, input_ids[places])


def _whole_words(words: list[Ids], wanted: int, settings: MaskingSettings, rng: np.random.Generator) -> Ids:
    """Places of whole words, alone or in spans, up to `wanted` tokens; a word that would exceed it is passed over."""
    taken = np.zeros(len(words), dtype=bool)
    sizes = [len(word) for word in words]
    filled = 0
    for first in rng.permutation(len(words)):
        if filled >= wanted:
            break
        length = 1
        if settings.mask_unit == "span":
            length = min(int(rng.geometric(1 / settings.mean_span_words)), settings.max_span_words)
        for word in range(first, min(first + length, len(words))):
            if not taken[word] and (filled + sizes[word] <= wanted or filled == 0):
                taken[word] = True
                filled += sizes[word]
    chosen = [words[i] for i in np.flatnonzero(taken)]
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)
