"""Published config files to `EncoderConfig` and back. Refuses what could run code or compute something else.

Read: `config.json` of Hugging Face's BERT and of our own models, `bert_config.json` of Google's. Knows no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from bertsmith.errors import FileFormatError, SettingsError, nearest
from bertsmith.model.config import EncoderConfig
from bertsmith.model.feedforward import Activation, PlainFeedForward
from bertsmith.model.normalization import LayerNormalization
from bertsmith.model.positions import LearnedPositions

OWN_MODEL_TYPE = "bertsmith"

FAMILIES_TO_COME = {
    "albert": "ALBERT",
    "camembert": "CamemBERT",
    "deberta": "DeBERTa",
    "deberta-v2": "DeBERTa",
    "distilbert": "DistilBERT",
    "electra": "ELECTRA",
    "modernbert": "ModernBERT",
    "mpnet": "MPNet",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-RoBERTa",
}

_ACTIVATIONS: dict[str, Activation] = {name: name for name in get_args(Activation)}
_ACTIVATIONS |= {"swish": "silu", "gelu_pytorch_tanh": "gelu_new"}

_SAME_NAMES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_dropout_prob",
    "attention_probs_dropout_prob", "classifier_dropout", "max_position_embeddings", "type_vocab_size",
    "initializer_range", "pad_token_id",
)  # fmt: skip
_REQUIRED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_ONLY_VALUES: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "quantization_config": None,
}


def encoder_config(values: Mapping[str, Any], where: Path | str) -> EncoderConfig:
    """The encoder that the config file `where`, holding `values`, describes. `FileFormatError` names the field."""
    refuse_code(values, where)
    kind = values.get("model_type", "bert")  # Google's files and the oldest of Hugging Face have none
    if kind == OWN_MODEL_TYPE:
        return _checked(values.get("encoder", {}), where)
    if kind in FAMILIES_TO_COME:
        raise FileFormatError(
            f"{where}: model_type {kind!r}: checkpoints of {FAMILIES_TO_COME[kind]} are not read yet: take one of BERT"
        )
    if kind != "bert":
        raise FileFormatError(
            f"{where}: model_type {kind!r} is not BERT's; {nearest(str(kind), ['bert', OWN_MODEL_TYPE])}"
        )
    for name in _REQUIRED:
        if values.get(name) is None:
            raise FileFormatError(f"{where}: {name} is missing: take the config that came with the weights")
    for name, only in _ONLY_VALUES.items():
        if values.get(name, only) not in (only, None):
            raise FileFormatError(f"{where}: {name} {values[name]!r} is not supported: only {only!r} is")
    activation = values.get("hidden_act", "gelu")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise FileFormatError(
            f"{where}: hidden_act {activation!r} is unknown; {nearest(str(activation), _ACTIVATIONS)}"
        )
    fields = {name: values[name] for name in _SAME_NAMES if values.get(name) is not None}
    fields["feed_forward"] = PlainFeedForward(activation=_ACTIVATIONS[activation])
    fields["normalization"] = _layer_norm(values.get("layer_norm_eps", 1e-12), where)
    return _checked(fields, where)


def is_hugging_face_bert(config: EncoderConfig) -> bool:
    """Whether Hugging Face's BERT would compute the same from this config."""
    return (
        isinstance(config.positions, LearnedPositions)
        and isinstance(config.feed_forward, PlainFeedForward)
        and isinstance(config.normalization, LayerNormalization)
        and config.normalization.placement == "post"
        and config.embedding_width == config.hidden_size
        and config.num_distinct_layers in (None, config.num_hidden_layers)
        and config.knowledge is None
    )


def published_config(config: EncoderConfig, *, hugging_face: bool) -> dict[str, Any]:
    """The fields of `config.json`: those of Hugging Face's BERT, or our own under a model type that others refuse."""
    if not hugging_face:
        return {"model_type": OWN_MODEL_TYPE, "encoder": config.model_dump(mode="json")}
    return {
        "model_type": "bert",
        **{name: getattr(config, name) for name in _SAME_NAMES},
        "hidden_act": config.feed_forward.activation,
        "layer_norm_eps": config.normalization.eps,
    }


def refuse_code(values: Any, where: Path | str) -> None:
    """Raise if a config names code to run: `auto_map`, `trust_remote_code`, a class or function by its import path."""
    pending = [("", values)]
    while pending:
        name, value = pending.pop()
        asks = name in ("auto_map", "custom_pipelines", "trust_remote_code") and value
        path = (
            name.endswith(("_class", "_cls", "_fn", "_module", "_target_")) and isinstance(value, str) and "." in value
        )
        if asks or path:
            raise FileFormatError(
                f"{where}: {name} {value!r} names code to run, and nothing in a model folder may: remove the entry if "
                "the weights are those of a plain BERT"
            )
        if isinstance(value, dict):
            pending += [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [("", inner) for inner in value]


def _layer_norm(eps: Any, where: Path | str) -> LayerNormalization:
    if not isinstance(eps, int | float) or not 0 < eps < 1:
        raise FileFormatError(f"{where}: layer_norm_eps {eps!r} should be a number between 0 and 1")
    return LayerNormalization(eps=eps)


def _checked(fields: Any, where: Path | str) -> EncoderConfig:
    if not isinstance(fields, Mapping):
        raise FileFormatError(f"{where}: encoder: expected an object, found {type(fields).__name__}")
    try:
        return EncoderConfig.of(fields, where=str(where))
    except SettingsError as error:
        raise FileFormatError(str(error)) from None
