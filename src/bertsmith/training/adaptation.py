"""What fine-tuning changes of a network, and how fast each layer of it. Knows networks, no task and no training loop.

The encoder is what was pre-trained; all else is the head, which is always trained.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from bertsmith.errors import SettingsError
from bertsmith.model.lora import LoraTarget, install_lora
from bertsmith.model.networks import Network
from bertsmith.settings import Settings

ADAPTED_LEARNING_RATES = {"head": 1e-3, "lora": 5e-4}
"""Peak rates where the user says none: few and new weights take larger steps (LoRA: Hu et al. 2021, table 9)."""


class AdaptationSettings(Settings):
    """What is trained: everything, the top layers, the head alone, or low-rank adapters; the head in each case."""

    train: Literal["all", "top_layers", "head", "lora"] = Field(
        "all", description="what changes beside the head: all, top_layers, nothing (head), or adapters (lora)"
    )
    num_top_layers: int | None = Field(None, ge=1, description="how many layers top_layers trains")
    layer_learning_rate_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of each layer as a share of that of the layer above"
    )
    lora_rank: int = Field(8, ge=1, description="rank of the adapters")
    lora_alpha: float = Field(8.0, gt=0, description="adapters are scaled by this, divided by their rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout of what the adapters read")
    lora_targets: tuple[LoraTarget, ...] = Field(
        ("query", "value"), min_length=1, description="layers that get adapters; all_linear for all"
    )

    @model_validator(mode="after")
    def _layers_are_named(self) -> Self:
        if (self.train == "top_layers") != (self.num_top_layers is not None):
            raise ValueError("train = top_layers and num_top_layers go together: give both or neither")
        return self


def adapt(network: Network, settings: AdaptationSettings) -> None:
    """Freeze what is not to change, and install adapters, in place. Load the pre-trained weights before.

    Raises `SettingsError` where nothing would be trained, or fewer layers are there than asked for.
    """
    network.requires_grad_(True)
    if settings.train == "all":
        return
    encoder = network.encoder
    encoder.requires_grad_(False)
    if settings.num_top_layers is not None:
        if settings.num_top_layers > len(encoder.layers):
            raise SettingsError(
                f"num_top_layers: the model has {len(encoder.layers)} layers with weights of their own, "
                f"{settings.num_top_layers} were asked for"
            )
        encoder.layers[-settings.num_top_layers :].requires_grad_(True)
        encoder.final_norm.requires_grad_(True)
    elif settings.train == "lora":
        install_lora(
            network,
            settings.lora_targets,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            dropout=settings.lora_dropout,
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise SettingsError(f"train: a {type(network).__name__} has no head: choose all, top_layers or lora")


def trained_weights(network: Network) -> str:
    """For people: how many of the weights change."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    num_trained, num_all = sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)
    return f"training changes {num_trained:,} of {num_all:,} weights ({num_trained / num_all:.1%})"


def rate_factors(network: Network, settings: AdaptationSettings) -> dict[str, float]:
    """What each parameter's learning rate is multiplied by, by name: 1 in the head and the top layer.

    Each layer below has `layer_learning_rate_decay` times the rate of the one above, and the embeddings that of the
    lowest (Howard and Ruder 2018; Sun et al. 2019, section 5.3.4).
    """
    num_layers = len(network.encoder.layers)
    factors = {}
    for name, _ in network.named_parameters():
        match name.split("."):
            case ["encoder", "layers", index, *_]:
                num_below_top = num_layers - 1 - int(index)
            case ["encoder", "embeddings" | "positions", *_]:
                num_below_top = num_layers
            case _:
                num_below_top = 0
        factors[name] = settings.layer_learning_rate_decay**num_below_top
    return factors
