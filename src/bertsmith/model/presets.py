"""The named sizes of BERT: those of the paper, and the small ones of Turc et al. 2019 (table 1)."""

from __future__ import annotations

from typing import Any

from bertsmith.errors import SettingsError, nearest
from bertsmith.model.config import EncoderConfig

PRESETS: dict[str, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
"""Layers and hidden size. Heads are 64 wide, the feed-forward sublayer four times the hidden size."""


def preset(name: str, **changes: Any) -> EncoderConfig:
    """The config of a named size, with `changes` laid over it.

    >>> preset("mini", vocab_size=8000).num_attention_heads
    4
    """
    if name not in PRESETS:
        raise SettingsError(f"no model size {name!r}; {nearest(name, PRESETS)}")
    layers, width = PRESETS[name]
    shape = {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
    }
    return EncoderConfig.of(shape | changes, where=f"model {name}")
