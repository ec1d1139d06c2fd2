"""BertConfig: the settings of the Hugging Face shaped classes, under the names that their users know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from bertsmith.errors import FileFormatError, SettingsError, nearest
from bertsmith.files import atomic_file, read_json, write_json
from bertsmith.hub import resolve_folder
from bertsmith.model.checkpoints import CONFIG, GOOGLE_CONFIG
from bertsmith.model.config import EncoderConfig
from bertsmith.model.published_config import OWN_MODEL_TYPE, encoder_config, refuse_code

_OF_THE_WEIGHTS = ("architectures", "dtype", "torch_dtype", "model_type")  # said anew when a model is saved
_OF_A_CALL = ("output_hidden_states", "output_attentions", "return_dict", "extra")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


@dataclass(eq=True)
class BertConfig:
    """Numbers and choices of a BERT with its head; the defaults are BERT-base's. Attributes may be changed.

    num_labels: size of the head; given, it renames the labels `LABEL_0`, ... unless `id2label` has as many. extra:
    other fields of a `config.json`, kept for saving. Checked when a model is built or the config is read.
    """

    vocab_size: int = 30_522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    classifier_dropout: float | None = None
    num_labels: int | None = None
    id2label: dict[int, str] | None = None
    label2id: dict[str, int] | None = None
    problem_type: str | None = None
    output_hidden_states: bool = False
    output_attentions: bool = False
    return_dict: bool = True
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise SettingsError(f"problem_type {self.problem_type!r} is unknown; known: {', '.join(PROBLEM_TYPES)}")
        names = _label_names(self.id2label or {})
        count = (len(names) or 2) if self.num_labels is None else self.num_labels
        if not isinstance(count, int) or count < 1:
            raise SettingsError(f"num_labels should be a whole number of at least 1, not {count!r}")
        if len(names) != count:
            names, self.label2id = {index: f"LABEL_{index}" for index in range(count)}, None
        self.num_labels, self.id2label = count, names
        self.label2id = self.label2id or {label: index for index, label in names.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """From the fields of a `config.json`, with `overrides` laid over them; unknown overrides are refused."""
        known = {field.name for field in fields(cls)} - {"extra"}
        for name in overrides:
            if name not in known:
                raise SettingsError(f"BertConfig has no setting {name!r}; {nearest(name, known)}")
        stored = {name: value for name, value in values.items() if name in known}
        if {"num_labels", "id2label"} & set(overrides):
            stored.pop("num_labels", None)
        if "id2label" in overrides:
            stored.pop("label2id", None)
        extra = {name: value for name, value in values.items() if name not in known and name not in _OF_THE_WEIGHTS}
        return cls(**(stored | overrides), extra=extra)

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path, **overrides: Any) -> Self:
        """From a folder (or Google checkpoint's prefix), or from the Hugging Face hub by name."""
        return cls.read(resolve_folder(name_or_folder), **overrides)

    @classmethod
    def read(cls, place: Path, **overrides: Any) -> Self:
        """From `config.json` or `bert_config.json`, checked; `FileFormatError` names file and field."""
        files = [place / CONFIG, place / GOOGLE_CONFIG, place.with_name(GOOGLE_CONFIG)]
        file = next((file for file in files if file.is_file()), None)
        if file is None:
            raise FileFormatError(f"{place}: no model here: expected {CONFIG} or {GOOGLE_CONFIG}")
        values = read_json(file)
        encoder_config(values, file)
        if values.get("model_type") == OWN_MODEL_TYPE:
            raise FileFormatError(
                f"{file}: this model has parts that Hugging Face's BERT has not (model_type {OWN_MODEL_TYPE!r}): "
                "load it with bertsmith.load"
            )
        try:
            cls.from_dict(values)
        except SettingsError as error:
            raise FileFormatError(f"{file}: {error}") from None
        return cls.from_dict(values, **overrides)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json`."""
        with atomic_file(Path(folder) / CONFIG) as temporary:
            write_json(temporary, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The fields of a `config.json`."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _OF_A_CALL}
        del values["num_labels"]  # as there, the names of the labels say how many there are
        values["id2label"] = {str(index): label for index, label in (self.id2label or {}).items()}
        return self.extra | values | {"model_type": "bert"}

    def encoder(self) -> EncoderConfig:
        """The encoder's part, checked: `SettingsError` names what cannot be."""
        refuse_code(self.extra, "BertConfig")
        try:
            return encoder_config(self.to_dict(), "BertConfig")
        except FileFormatError as error:
            raise SettingsError(str(error)) from None


def _label_names(names: Any) -> dict[int, str]:
    if isinstance(names, Mapping) and all(isinstance(label, str) for label in names.values()):
        by_index = {str(index): label for index, label in names.items()}
        if set(by_index) == {str(index) for index in range(len(names))}:
            return {index: by_index[str(index)] for index in range(len(names))}
    raise SettingsError(f"id2label should give a name to each of 0, 1, 2, ..., not {names!r:.200}")
