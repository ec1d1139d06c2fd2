"""Text out of a masked language model: all blanks at once, then the least sure ones again (Ghazvininejad et al. 2019).

Shapes: M blanks, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bertsmith.model.generation import GenerationSettings, drawn
from bertsmith.model.networks import PretrainingNetwork
from bertsmith.model.packed import Packed


@dataclass(frozen=True)
class Filled:
    """input_ids: the text with its blanks filled. probabilities: of each blank's token, beside the final others."""

    input_ids: list[int]
    probabilities: list[float]


@torch.inference_mode()
def mask_predict(
    network: PretrainingNetwork,
    input_ids: Sequence[int],
    *,
    mask_id: int,
    forbidden: Sequence[int],
    num_iterations: int,
    sampling: GenerationSettings | None = None,
    generator: torch.Generator | None = None,
) -> Filled:
    """Fill every `mask_id` of one text.

    Every round fills all that is blank, then makes blank again the least probable share of what was filled, which falls
    from round to round to none. sampling: how tokens are drawn, by numbers of the generator; None: the likeliest are
    taken. forbidden: ids that are not written.
    """
    device = next(network.parameters()).device
    ids = torch.tensor(list(input_ids), device=device)
    places = (ids == mask_id).nonzero().squeeze(1)
    probabilities = torch.zeros(len(places), device=device)
    blank = torch.ones(len(places), dtype=torch.bool, device=device)
    for round_ in range(num_iterations):
        scores = _scores(network, ids, places[blank], forbidden)
        if sampling is not None:
            tokens = drawn(scores, torch.rand(len(scores), generator=generator).to(device), sampling)
        else:
            tokens = scores.argmax(-1)
        ids[places[blank]] = tokens
        probabilities[blank] = scores.softmax(-1).gather(1, tokens[:, None]).squeeze(1)
        number = len(places) * (num_iterations - 1 - round_) // num_iterations
        if number == 0:
            break
        blank = torch.zeros_like(blank)
        blank[probabilities.topk(number, largest=False).indices] = True
        ids[places[blank]] = mask_id
    return Filled(ids.tolist(), probabilities.tolist())


def _scores(network: PretrainingNetwork, ids: Tensor, places: Tensor, forbidden: Sequence[int]) -> Tensor:
    """[M, V]: the log-probabilities at these places."""
    packed = Packed(ids, torch.zeros_like(ids), torch.arange(len(ids), device=ids.device), (len(ids),))
    tokens = network(packed, places.cpu()).tokens
    assert tokens is not None, "a pre-training network has a vocabulary head"
    scores: Tensor = tokens.float().log_softmax(-1)
    scores[:, list(forbidden)] = float("-inf")
    return scores
