"""Several saved models at once: those with one encoder hold its weights once, and read a text once for all of them.

Such models are heads over a pre-trained encoder that training left as it was, or one encoder under several tasks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.artifact import Artifact
from bertsmith.data.batch import Window, pack
from bertsmith.inference.predictor import Predictor
from bertsmith.model.attention import Capture
from bertsmith.model.networks import Network
from bertsmith.model.packed import Packed
from bertsmith.runtime.device import PredictionPrecision, autocast


class SharedEncoder(nn.Module):
    """An encoder under several networks. num_passes: how often it computed for all of them at once."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.num_passes = 0
        self._states: Tensor | None = None

    def forward(self, packed: Packed, capture: Capture | None = None, at: Tensor | None = None) -> Tensor:
        """As `Encoder`'s: [T, H], or [M, H] of the places in `at`; what a pass for all has computed is looked up."""
        if self._states is None:
            states: Tensor = self.encoder(packed, capture, at)
            return states
        return self._states if at is None else self._states[at]

    def states_of(self, windows: Sequence[Window], device: torch.device) -> Tensor:
        """[T, H] of the windows, one after another, in one pass."""
        self.num_passes += 1
        states: Tensor = self.encoder(pack(windows).to(device))
        return states


@dataclass(frozen=True)
class Asked:
    """The windows that one of several models is asked about."""

    predictor: Predictor
    windows: Sequence[Window]


def predictors_of(
    artifacts: Sequence[Artifact],
    *,
    device: str = "auto",
    precision: PredictionPrecision = "auto",
    batch_invariant: bool = False,
) -> list[Predictor]:
    """As `Predictor.of` of each; those whose encoders have the same weights share one, `encoder_of` says which."""
    made: list[Predictor] = []
    first_with: dict[str, Any] = {}
    for artifact in artifacts:
        key = _fingerprint(artifact.network) if len(artifacts) > 1 else ""
        predictor: Any = Predictor.of(artifact, device=device, precision=precision, batch_invariant=batch_invariant)
        if (known := first_with.get(key)) is None:
            first_with[key] = predictor
        else:
            shared = known.network.encoder
            if not isinstance(shared, SharedEncoder):
                shared = known.network.encoder = SharedEncoder(shared)
            predictor.network.encoder = shared
        made.append(predictor)
    return made


def encoder_of(predictor: Predictor) -> SharedEncoder | None:
    """The encoder that it shares with others; None: it has its own."""
    encoder: Any = predictor.network.encoder
    return encoder if isinstance(encoder, SharedEncoder) else None


@torch.inference_mode()
def parts_together(asked: Sequence[Asked]) -> list[list[Any]]:
    """For each of several models what it says of each of its windows; a window that two ask about is read once.

    All of them share one encoder.
    """
    shared = encoder_of(asked[0].predictor)
    if shared is None or len(asked) == 1:
        assert len(asked) == 1, "only models that share an encoder are asked together"
        return [asked[0].predictor.parts_of(asked[0].windows)]
    places: dict[bytes, int] = {}
    different: list[Window] = []
    chosen: list[list[int]] = []
    for one in asked:
        chosen.append([])
        for window in one.windows:
            key = _content(window)
            if key not in places:
                places[key] = len(different)
                different.append(window)
            chosen[-1].append(places[key])
    device = next(shared.parameters()).device
    with autocast(asked[0].predictor.precision, device):
        states = torch.split(shared.states_of(different, device), [window.num_tokens for window in different])
    parts = []
    try:
        for one, rows in zip(asked, chosen, strict=True):
            shared._states = torch.cat([states[row] for row in rows])
            parts.append(one.predictor.parts_of(one.windows))
    finally:
        shared._states = None
    return parts


def with_settings(predictor: Predictor, **changes: Any) -> Predictor:
    """The predictor with other settings of its task."""
    task = predictor.task
    return replace(predictor, task=type(task)(task.settings.model_copy(update=changes)))


def _content(window: Window) -> bytes:
    ids = np.asarray(window.input_ids, dtype=np.int32).tobytes()
    return ids + np.asarray(window.token_type_ids, dtype=np.int8).tobytes()


def _fingerprint(network: Network) -> str:
    """Of the encoder's shape and weights."""
    digest = hashlib.sha256(network.encoder.__class__.__name__.encode())
    digest.update(network.config.model_dump_json().encode())
    for name, tensor in sorted(network.encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
