"""Adapters saved apart, in the layout of the PEFT library: `adapter_config.json` and `adapter_model.safetensors`.

Beside the low-rank matrices such a folder holds whole parts that were trained: the heads. Knows no task.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bertsmith.errors import FileFormatError
from bertsmith.files import read_json, write_json
from bertsmith.model.checkpoints import speaks_hugging_face
from bertsmith.model.config import EncoderConfig
from bertsmith.model.lora import LoraLinear, lora_layers, replace_module
from bertsmith.model.name_tables import HUGGING_FACE
from bertsmith.model.networks import (
    BareNetwork,
    EmbeddingNetwork,
    Network,
    SequenceNetwork,
    SpanNetwork,
    TokenNetwork,
)
from bertsmith.model.safe_weights import SafeWeights, refuse_pickles, write_weights

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."

TASK_TYPES: dict[type[Network], str] = {
    BareNetwork: "FEATURE_EXTRACTION",
    EmbeddingNetwork: "FEATURE_EXTRACTION",
    SequenceNetwork: "SEQ_CLS",
    TokenNetwork: "TOKEN_CLS",
    SpanNetwork: "QUESTION_ANS",
}
"""PEFT's word for what a network is; others have none."""

BASE_CLASSES: dict[str, type[Network]] = {
    "FEATURE_EXTRACTION": BareNetwork,
    "SEQ_CLS": SequenceNetwork,
    "TOKEN_CLS": TokenNetwork,
    "QUESTION_ANS": SpanNetwork,
    "BertModel": BareNetwork,
    "BertForMaskedLM": BareNetwork,
    "BertForSequenceClassification": SequenceNetwork,
    "BertForTokenClassification": TokenNetwork,
    "BertForQuestionAnswering": SpanNetwork,
}
"""What an adapter of PEFT's was trained on, by its `task_type` or else by the class in its `auto_mapping`."""

HARMLESS = (
    *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("r", "rank_pattern", "lora_alpha", "lora_dropout", "use_rslora", "bias", "init_lora_weights", "inference_mode"),
    *("target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern"),
    *("fan_in_fan_out", "ensure_weight_tying", "megatron_core", "qalora_group_size"),
)
"""Fields that are read, or that say nothing of how a linear layer computes. All others must be off."""

PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Ways to draw the first matrices that leave the base's weights as they are."""


@dataclass(frozen=True)
class Adapter:
    """An opened adapter: its config, checked, and its tensors, whose names in the file start with `PREFIX`."""

    folder: Path
    config: Mapping[str, Any]
    weights: SafeWeights

    @property
    def names(self) -> list[str]:
        """Of the tensors, without the prefix."""
        return [name.removeprefix(PREFIX) for name in self.weights]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.weights.shape(PREFIX + name)

    def scale(self, rank: int) -> float:
        """What the change of a layer is multiplied by; `use_rslora`: Kalajdzievski 2023."""
        alpha: float = self.config["lora_alpha"]
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor by its name without the prefix; real, finite and of this shape."""
        place = f"{self.folder / ADAPTER_WEIGHTS}: tensor {PREFIX + name!r}"
        tensor = self.weights[PREFIX + name]
        if tuple(tensor.shape) != shape:
            raise FileFormatError(
                f"{place} has the shape {list(tensor.shape)}, the model needs {list(shape)}: the adapter was trained "
                "over another base, name that one"
            )
        if not (tensor.is_floating_point() and bool(tensor.isfinite().all())):
            raise FileFormatError(f"{place} holds {tensor.dtype}, NaN or infinity: take an earlier adapter")
        return tensor


def open_adapter(folder: Path) -> Adapter:
    """What is in `folder`; of the tensors only headers are read.

    Raises `FileFormatError` for what is missing, damaged, or computes otherwise than plain low-rank adapters do.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise FileFormatError(f"{folder}: no adapter here: expected {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}")
    config = read_json(folder / ADAPTER_CONFIG)
    _check_config(config, folder / ADAPTER_CONFIG)
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        refuse_pickles(folder)
        raise FileFormatError(f"{folder}: no weights here: expected {ADAPTER_WEIGHTS}")
    weights = SafeWeights([file])
    for name in weights:
        if not name.startswith(PREFIX):
            raise FileFormatError(f"{file}: tensor {name!r}: names of an adapter start with {PREFIX!r}")
    return Adapter(folder, config, weights)


def save_adapter(network: Network, folder: Path, *, base: str) -> None:
    """Write the adapters of `network`, all of one rank and scale, and its parts beside the encoder to `folder`.

    base: folder or name of the model that they were trained over. Names are those that PEFT gives to Hugging Face's
    BERT, so that it loads them; networks which that BERT is not keep our names.
    """
    layers = [layer for _, layer in lora_layers(network)]
    assert len({(layer.rank, layer.scale, layer.dropout.p) for layer in layers}) == 1
    state = adapter_state(network)
    adapted = sorted(name.removesuffix(".lora_A.weight") for name in state if name.endswith(".lora_A.weight"))
    whole = (name.removeprefix(HUGGING_FACE.prefix) for name in state if ".lora_" not in name)
    config = {
        "peft_type": "LORA",
        "task_type": TASK_TYPES.get(type(network)) if speaks_hugging_face(network) else None,
        "base_model_name_or_path": base,
        "r": layers[0].rank,
        "lora_alpha": layers[0].scale * layers[0].rank,
        "lora_dropout": layers[0].dropout.p,
        # Without the trunk's prefix a name also fits the same trunk alone: PEFT compares ends of names.
        "target_modules": [name.removeprefix(HUGGING_FACE.prefix) for name in adapted],
        "modules_to_save": list(dict.fromkeys(name.split(".")[0] for name in whole)) or None,
        "bias": "none",
        "inference_mode": True,
    }
    write_json(folder / ADAPTER_CONFIG, config)
    write_weights(folder / ADAPTER_WEIGHTS, {PREFIX + name: tensor for name, tensor in state.items()})


def adapter_state(network: Network) -> dict[str, Tensor]:
    """What fine-tuning with adapters changes, under the names of PEFT without their prefix."""
    names = _published_names(network)
    state: dict[str, Tensor] = {}
    for module, layer in lora_layers(network):
        name = names[f"{module}.weight"].removesuffix(".weight")
        state |= {f"{name}.lora_A.weight": layer.lora_a.detach(), f"{name}.lora_B.weight": layer.lora_b.detach()}
    heads = {names[own]: p.detach() for own, p in network.named_parameters() if not own.startswith("encoder.")}
    return state | heads


def load_adapter(network: Network, adapter: Adapter) -> tuple[str, ...]:
    """Install `adapter` in a network without adapters, in place; returns our names of the whole parts that it brought.

    Raises `FileFormatError` for tensors that have no place in the network, are not finite or of another shape.
    """
    assert not any(lora_layers(network))
    parameters = dict(network.named_parameters())
    table = _table(network)
    places = {table.get(own, own): own for own in parameters}
    names = HUGGING_FACE.current_names(adapter.names) if table else {name: name for name in adapter.names}
    brought = []
    with torch.no_grad():
        for current, name in names.items():
            layer, is_matrix, matrix = current.partition(".lora_")
            own = places.get(f"{layer}.weight" if is_matrix else current)
            if own is None or (is_matrix and matrix not in ("A.weight", "B.weight")):
                raise FileFormatError(
                    f"{adapter.folder / ADAPTER_WEIGHTS}: tensor {PREFIX + name!r} has no place in a "
                    f"{type(network).__name__} of {network.config.num_hidden_layers} layers: name the base that the "
                    "adapter was trained over"
                )
            if not is_matrix:
                parameters[own].copy_(adapter.tensor(name, tuple(parameters[own].shape)))
                brought.append(own)
            elif not isinstance(network.get_submodule(own.removesuffix(".weight")), LoraLinear):
                _install(network, own.removesuffix(".weight"), adapter, name.partition(".lora_")[0])
    return tuple(brought)


def adapted_network(adapter: Adapter, config: EncoderConfig) -> Network:
    """A fresh network of the kind that an adapter of PEFT's was trained on, without the adapter.

    Raises `FileFormatError` where the config names none that we have.
    """
    mapping = adapter.config.get("auto_mapping") or {}
    kind = adapter.config.get("task_type") or mapping.get("base_model_class")
    network = BASE_CLASSES.get(kind or "BertModel")
    place = adapter.folder / ADAPTER_CONFIG
    if network is None:
        raise FileFormatError(f"{place}: an adapter of {kind!r}; known are {', '.join(BASE_CLASSES)}")
    if network is BareNetwork:
        return BareNetwork(config)
    if network is SpanNetwork:
        return SpanNetwork(config)
    shape = adapter.shape("classifier.weight") if "classifier.weight" in adapter.names else ()
    if len(shape) != 2 or shape[1] != config.hidden_size:
        raise FileFormatError(
            f"{place}: {kind} needs a trained classifier of {config.hidden_size} columns, {ADAPTER_WEIGHTS} holds "
            f"{list(shape) or 'none'}"
        )
    classifying = TokenNetwork if network is TokenNetwork else SequenceNetwork
    return classifying(config, num_labels=shape[0])


def base_fingerprint(network: Network) -> str:
    """SHA-256 of the encoder's own weights, adapters aside: tells over which model an adapter was trained."""
    digest = hashlib.sha256()
    for name, parameter in sorted(network.encoder.named_parameters()):
        if not name.endswith((".lora_a", ".lora_b")):
            digest.update(f"{name} {list(parameter.shape)}\n".encode())
            digest.update(parameter.detach().cpu().float().flatten().numpy().data)
    return digest.hexdigest()


def _install(network: Network, module: str, adapter: Adapter, layer: str) -> None:
    """Put the adapter of the layer that the file calls `layer` on our `module`."""
    linear = network.get_submodule(module)
    names = [f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"]
    place = f"{adapter.folder / ADAPTER_WEIGHTS}: {layer!r}"
    if not isinstance(linear, nn.Linear) or not set(names) <= set(adapter.names):
        raise FileFormatError(f"{place}: expected lora_A and lora_B of a linear layer, which this is not or lacks")
    shape = adapter.shape(names[0])
    if len(shape) != 2 or shape[0] < 1 or shape[1] != linear.in_features:
        raise FileFormatError(f"{place}: expected lora_A of {linear.in_features} columns, found {list(shape)}")
    rank = shape[0]
    dropout = adapter.config.get("lora_dropout") or 0.0
    adapted = LoraLinear(linear, rank=rank, scale=adapter.scale(rank), dropout=dropout)
    for name, parameter in zip(names, (adapted.lora_a, adapted.lora_b), strict=True):
        parameter.copy_(adapter.tensor(name, tuple(parameter.shape)))
    replace_module(network, module, adapted)


def _table(network: Network) -> dict[str, str]:
    """Our names -> those of Hugging Face's BERT; empty where it is not this network."""
    if not speaks_hugging_face(network):
        return {}
    return HUGGING_FACE.published_names(network.config.num_hidden_layers)


def _published_names(network: Network) -> dict[str, str]:
    """Our parameters -> their names in a file; a bare trunk goes without its prefix, as everywhere."""
    is_bare = isinstance(network, BareNetwork | EmbeddingNetwork)
    table, prefix = _table(network), HUGGING_FACE.prefix if is_bare else ""
    return {own: table.get(own, own).removeprefix(prefix) for own, _ in network.named_parameters()}


def _check_config(config: Mapping[str, Any], place: Path) -> None:
    way_out = "merge it with PEFT (merge_and_unload) and save the model"
    if config.get("peft_type") != "LORA":
        raise FileFormatError(f"{place}: peft_type is {config.get('peft_type')!r}, only LORA can be read: {way_out}")
    for name in ("r", "lora_alpha"):
        value: Any = config.get(name)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise FileFormatError(f"{place}: {name}: expected a number above 0, found {value!r}")
    for name, value in config.items():
        if name not in HARMLESS and value:
            raise FileFormatError(f"{place}: {name} is {value!r:.80}, which changes how the model computes: {way_out}")
    if config.get("bias", "none") != "none":
        raise FileFormatError(f"{place}: bias is {config['bias']!r}, only 'none' can be read: {way_out}")
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        raise FileFormatError(
            f"{place}: init_lora_weights is {config['init_lora_weights']!r}, which changes the base: {way_out}"
        )
