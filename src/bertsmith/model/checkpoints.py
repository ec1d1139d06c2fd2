"""Weights in and out of our networks, in the layouts of Hugging Face and of Google's original release.

A checkpoint is a folder (`config.json` with `model.safetensors` or its shards; `bert_config.json` with
`bert_model.ckpt.*`) or the common prefix of Google's files. Knows no tokenizer and no task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bertsmith.errors import FileFormatError
from bertsmith.files import read_json
from bertsmith.model.config import EncoderConfig
from bertsmith.model.frozen import frozen_parts
from bertsmith.model.name_tables import GOOGLE, HEADS, HUGGING_FACE, OWN, NameTable
from bertsmith.model.networks import (
    BareNetwork,
    ChoiceNetwork,
    EmbeddingNetwork,
    Network,
    PretrainingNetwork,
    SequenceNetwork,
    SpanNetwork,
    TokenNetwork,
)
from bertsmith.model.published_config import OWN_MODEL_TYPE, encoder_config, is_hugging_face_bert, published_config
from bertsmith.model.safe_weights import WEIGHTS, SafeWeights, refuse_pickles, write_weights
from bertsmith.model.tensorbundle import TensorBundle

CONFIG = "config.json"
GOOGLE_CONFIG = "bert_config.json"

Heads = Literal["load", "fit", "new"]
"""What becomes of the heads: they must have the stored shapes; those of other shapes stay new; all stay new but those
that pre-training taught (`PRETRAINED_HEADS`), where a network has them too."""
PRETRAINED_HEADS = ("pooler.", "vocabulary_head.")


@dataclass(frozen=True)
class LoadReport:
    """missing: our parameters that stay as initialized. unused: stored tensors that the network has no use for."""

    missing: tuple[str, ...]
    unused: tuple[str, ...]


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: its encoder, checked, and its weights by the names of `table`."""

    place: Path
    encoder: EncoderConfig
    table: NameTable
    weights: SafeWeights | TensorBundle


def open_checkpoint(place: Path) -> Checkpoint:
    """Find and open what is at `place`, a folder or the prefix of Google's files; nothing but headers is read."""
    if (place / CONFIG).is_file():
        values = read_json(place / CONFIG)
        config = encoder_config(values, place / CONFIG)
        table = OWN if values.get("model_type") == OWN_MODEL_TYPE else HUGGING_FACE
        return Checkpoint(place, config, table, SafeWeights.of_folder(place))
    prefix = _google_prefix(place)
    config_file = prefix.with_name(GOOGLE_CONFIG)
    return Checkpoint(place, encoder_config(read_json(config_file), config_file), GOOGLE, TensorBundle(prefix))


def read_config(place: Path) -> EncoderConfig:
    """The encoder in the checkpoint at `place`; its weights are there, and their shapes are those of the config.

    Raises `FileFormatError` for what is missing, damaged, unsafe or of another family.
    """
    checkpoint = open_checkpoint(place)
    with shapes_only():  # absurd numbers cost nothing
        _match(BareNetwork(checkpoint.encoder, pooled=False), checkpoint, "new")
    return checkpoint.encoder


@contextmanager
def shapes_only() -> Iterator[None]:
    """Modules built in this block have shapes but neither memory nor values."""
    with torch.device("meta"), _NoInitialization():
        yield


def load_weights(network: Network, place: Path, *, heads: Heads = "load", strict: bool = False) -> LoadReport:
    """Copy the weights at `place` into `network`, converted to the types of its parameters.

    The encoder must be there in full; heads, the pooler among them, may be missing and then stay new; with `strict`
    nothing may be missing or unused. Raises `FileFormatError` for tensors that are missing, unknown, of the wrong
    shape or not finite.
    """
    checkpoint = open_checkpoint(place)
    matched = _match(network, checkpoint, heads)
    if "vocabulary_head.bias" in matched:
        _refuse_untied(checkpoint)
    parameters = dict(network.named_parameters())
    used = set(matched.values())
    report = LoadReport(
        missing=tuple(own for own in parameters if own not in matched),
        unused=tuple(name for name in _stored_names(checkpoint).values() if name not in used),
    )
    if strict and (report.missing or report.unused):
        raise FileFormatError(
            f"{place}: not the weights of this model: missing {list(report.missing)[:5]}, without use "
            f"{list(report.unused)[:5]}: copy or download the folder again"
        )
    with torch.no_grad():
        for own, stored in matched.items():
            tensor = _tensor(checkpoint, stored)
            parameters[own].copy_(tensor.t() if checkpoint.table.is_transposed(stored) else tensor)
    return report


def save_weights(network: Network, folder: Path) -> None:
    """Write `model.safetensors`, under Hugging Face's names where its BERT computes the same, else under our own."""
    names = published_parameter_names(network)
    tensors = {names[own]: parameter for own, parameter in network.named_parameters()}
    write_weights(folder / WEIGHTS, tensors)


def config_to_hugging_face(network: Network, **more: Any) -> dict[str, Any]:
    """What `config.json` says beside `save_weights`; `more` adds fields such as `id2label` and `label2id`."""
    hugging_face = speaks_hugging_face(network)
    values: dict[str, Any] = {
        "architectures": [_architecture(network)],
        "dtype": str(next(network.parameters()).dtype).removeprefix("torch."),
    }
    if isinstance(network, SequenceNetwork | TokenNetwork) and not isinstance(network, ChoiceNetwork):
        labels = {str(i): f"LABEL_{i}" for i in range(len(network.classifier.weight))}
        values |= {"id2label": labels, "label2id": {label: int(i) for i, label in labels.items()}}
    return values | published_config(network.config, hugging_face=hugging_face) | more


def speaks_hugging_face(network: Network) -> bool:
    """Whether Hugging Face's BERT has this network, so that it is saved under its names."""
    return is_hugging_face_bert(network.config) and _architecture(network).startswith("Bert")


def published_parameter_names(network: Network) -> dict[str, str]:
    """Our name of each parameter -> the one it is saved under; a bare trunk goes without the prefix, as there."""
    frozen = frozen_parts(network)
    assert not frozen, f"a copy for prediction lacks the weights of {', '.join(frozen)}: save the original"
    if not speaks_hugging_face(network):
        return {own: own for own, _ in network.named_parameters()}
    names = HUGGING_FACE.published_names(network.config.num_hidden_layers)
    prefix = HUGGING_FACE.prefix if isinstance(network, BareNetwork | EmbeddingNetwork) else ""
    return {own: names[own].removeprefix(prefix) for own, _ in network.named_parameters()}


# --- matching --------------------------------------------------------------------------------------------------------


def _match(network: Network, checkpoint: Checkpoint, heads: Heads) -> dict[str, str]:
    """Our parameters -> the stored tensors to fill them from; names and shapes are checked."""
    table, weights = checkpoint.table, checkpoint.weights
    wanted = dict(network.named_parameters())
    num_layers = network.config.num_hidden_layers
    names = {own: own for own in wanted} if table is OWN else table.published_names(num_layers)
    stored = _stored_names(checkpoint)
    known = set(names.values())
    for current, name in stored.items():
        if current not in known and not (table is OWN and _is_head(current)):
            raise FileFormatError(
                f"{checkpoint.place}: tensor {name!r} has no place in a {table.format} BERT of {num_layers} layers: "
                "check the config, or write the weights again without it"
            )
    matched = {}
    for own, parameter in wanted.items():
        published = names.get(own, own)
        if published not in stored or (heads == "new" and _is_head(own) and not own.startswith(PRETRAINED_HEADS)):
            if not _is_head(own):
                raise FileFormatError(
                    f"{checkpoint.place}: tensor {published!r} is missing: the model has {num_layers} layers by its "
                    "config; check that, or copy or download the weights again"
                )
            continue
        shape = tuple(parameter.shape[::-1] if table.is_transposed(published) else parameter.shape)
        if weights.shape(stored[published]) == shape:
            matched[own] = stored[published]
        elif not (heads == "fit" and _is_head(own)):
            raise FileFormatError(_wrong_shape(checkpoint, stored[published], shape, _is_head(own)))
    return matched


def _is_head(own: str) -> bool:
    return own.partition(".")[0] in HEADS


def _stored_names(checkpoint: Checkpoint) -> dict[str, str]:
    """The names of the table -> those in the file; repeated tensors stand in where the original is missing."""
    stored = checkpoint.table.current_names(checkpoint.weights)
    for alias, original in checkpoint.table.aliases.items():
        if alias in stored:
            stored.setdefault(original, stored[alias])
            del stored[alias]
    return stored


def _refuse_untied(checkpoint: Checkpoint) -> None:
    """Our head over the vocabulary uses the token embeddings; weights of its own cannot be taken over."""
    stored = checkpoint.table.current_names(checkpoint.weights)
    for alias, original in checkpoint.table.aliases.items():
        if alias not in stored or original not in stored:
            continue
        if not torch.equal(_tensor(checkpoint, stored[alias]), _tensor(checkpoint, stored[original])):
            raise FileFormatError(
                f"{checkpoint.place}: tensor {alias!r} differs from {original!r}: a vocabulary head with weights of "
                "its own is not supported: load the model without this head, or tie the two"
            )


def _tensor(checkpoint: Checkpoint, name: str) -> Tensor:
    """A stored tensor; real numbers, all of them finite."""
    values = checkpoint.weights[name]
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values.copy())
    if not tensor.is_floating_point():
        raise FileFormatError(
            f"{checkpoint.place}: tensor {name!r} holds {tensor.dtype} where floating point numbers are expected: "
            "quantized weights are not read, take the full ones"
        )
    if not all(extreme.isfinite() for extreme in tensor.aminmax()):
        raise FileFormatError(
            f"{checkpoint.place}: tensor {name!r} holds NaN or infinity, so the model cannot compute: take an earlier "
            "checkpoint"
        )
    return tensor


def _wrong_shape(checkpoint: Checkpoint, name: str, shape: tuple[int, ...], is_head: bool) -> str:
    way_out = "check the config against the weights"
    if is_head:
        way_out = "build the model with as many labels as were stored, or leave this head new"
    found = list(checkpoint.weights.shape(name))
    return f"{checkpoint.place}: tensor {name!r} has the shape {found}, the model needs {list(shape)}: {way_out}"


class _NoInitialization(TorchFunctionMode):
    """Random numbers on the meta device would first import the compiler, for seconds."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return (kwargs or {}).get("tensor")
        return func(*args, **(kwargs or {}))


# --- places and classes ----------------------------------------------------------------------------------------------


def _google_prefix(place: Path) -> Path:
    if not place.is_dir():
        if place.with_name(place.name + ".index").is_file():
            return place
        refuse_pickles(place)
        raise FileFormatError(f"{place}: no model here: expected a folder, or a prefix such as bert_model.ckpt")
    prefixes = sorted(file.with_suffix("") for file in place.glob("*.ckpt*.index"))
    if not prefixes:
        refuse_pickles(place)
        raise FileFormatError(f"{place}: no model here: expected {CONFIG}, or bert_model.ckpt.index")
    if len(prefixes) > 1:
        raise FileFormatError(f"{place}: {len(prefixes)} checkpoints here: name one of them, such as {prefixes[-1]}")
    return prefixes[0]


def _architecture(network: Network) -> str:
    """The class of Hugging Face's that is this network; our own name where there is none."""
    match network:
        case BareNetwork() | EmbeddingNetwork():
            return "BertModel"
        case PretrainingNetwork(sentence_head=None):
            return "BertForMaskedLM"
        case PretrainingNetwork(vocabulary_head=None):
            return "BertForNextSentencePrediction"
        case PretrainingNetwork():
            return "BertForPreTraining"
        case ChoiceNetwork():
            return "BertForMultipleChoice"
        case SequenceNetwork():
            return "BertForSequenceClassification"
        case TokenNetwork():
            return "BertForTokenClassification"
        case SpanNetwork():
            return "BertForQuestionAnswering"
    return type(network).__name__
