"""What published checkpoints call our parameters: one reversible table per format. Knows names, never files or values.

Our names are those of the modules in this folder; `{i}` stands for a layer. Another family is another table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HEADS = ("pooler", "vocabulary_head", "sentence_head", "classifier", "crf", "span_head", "decoder")
"""Parts of our networks beside the encoder. A checkpoint may carry some that a network has no use for, or lack some."""


@dataclass(frozen=True)
class NameTable:
    """rows: our parameter -> the published tensor. Both directions are unique.

    aliases: tensors that repeat another one (tied weights). ignored: tensors that are no weights of the model.
    old_endings: how older writers ended a name, and how it ends now. transposed_ending: of matrices stored transposed.
    prefix: of the trunk, left out where it is saved alone.
    """

    format: str
    rows: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    ignored: re.Pattern[str] = re.compile(r"(?!)")
    old_endings: Mapping[str, str] = field(default_factory=dict)
    transposed_ending: str | None = None
    prefix: str = ""

    def published_names(self, num_layers: int) -> dict[str, str]:
        """Our names -> the published ones, for so many layers.

        >>> HUGGING_FACE.published_names(12)["encoder.layers.11.feed_forward.up.bias"]
        'bert.encoder.layer.11.intermediate.dense.bias'
        """
        names = {}
        for own, published in self.rows.items():
            for i in range(num_layers if "{i}" in own else 1):
                names[own.replace("{i}", str(i))] = published.replace("{i}", str(i))
        return names

    def current_names(self, stored: Iterable[str]) -> dict[str, str]:
        """The names in a file, without what is ignored: as the table spells them -> as the file does.

        A trunk that was saved alone has lost its prefix, and old files end the names of norms differently.
        """
        stored = [name for name in stored if not self.ignored.search(name)]
        bare = self.prefix and not any(name.startswith(self.prefix) for name in stored)
        trunk = {row[len(self.prefix) :].split(".")[0] for row in self.rows.values() if row.startswith(self.prefix)}
        names = {}
        for name in stored:
            current = name
            for old, new in self.old_endings.items():
                if name.endswith(old):
                    current = name.removesuffix(old) + new
            if bare and current.split(".")[0] in trunk:
                current = self.prefix + current
            names[current] = name
        return names

    def is_transposed(self, published: str) -> bool:
        return self.transposed_ending is not None and published.endswith(self.transposed_ending)


def _hugging_face_rows() -> dict[str, str]:
    tables = {
        "encoder.embeddings.tokens": "bert.embeddings.word_embeddings",
        "encoder.embeddings.token_types": "bert.embeddings.token_type_embeddings",
        "encoder.positions.table": "bert.embeddings.position_embeddings",
    }
    modules = {
        "encoder.embeddings.norm": "bert.embeddings.LayerNorm",
        "encoder.layers.{i}.attention.query": "bert.encoder.layer.{i}.attention.self.query",
        "encoder.layers.{i}.attention.key": "bert.encoder.layer.{i}.attention.self.key",
        "encoder.layers.{i}.attention.value": "bert.encoder.layer.{i}.attention.self.value",
        "encoder.layers.{i}.attention.output": "bert.encoder.layer.{i}.attention.output.dense",
        "encoder.layers.{i}.attention_residual.norm": "bert.encoder.layer.{i}.attention.output.LayerNorm",
        "encoder.layers.{i}.feed_forward.up": "bert.encoder.layer.{i}.intermediate.dense",
        "encoder.layers.{i}.feed_forward.down": "bert.encoder.layer.{i}.output.dense",
        "encoder.layers.{i}.feed_forward_residual.norm": "bert.encoder.layer.{i}.output.LayerNorm",
        "pooler.dense": "bert.pooler.dense",
        "vocabulary_head.dense": "cls.predictions.transform.dense",
        "vocabulary_head.norm": "cls.predictions.transform.LayerNorm",
        "sentence_head": "cls.seq_relationship",
        "classifier": "classifier",
        "span_head": "qa_outputs",
    }
    rows = {f"{own}.weight": f"{published}.weight" for own, published in tables.items()}
    for own, published in modules.items():
        rows |= {f"{own}.{leaf}": f"{published}.{leaf}" for leaf in ("weight", "bias")}
    return rows | {"vocabulary_head.bias": "cls.predictions.bias"}


def _google_rows() -> dict[str, str]:
    linears = {
        "encoder.layers.{i}.attention.query": "bert/encoder/layer_{i}/attention/self/query",
        "encoder.layers.{i}.attention.key": "bert/encoder/layer_{i}/attention/self/key",
        "encoder.layers.{i}.attention.value": "bert/encoder/layer_{i}/attention/self/value",
        "encoder.layers.{i}.attention.output": "bert/encoder/layer_{i}/attention/output/dense",
        "encoder.layers.{i}.feed_forward.up": "bert/encoder/layer_{i}/intermediate/dense",
        "encoder.layers.{i}.feed_forward.down": "bert/encoder/layer_{i}/output/dense",
        "pooler.dense": "bert/pooler/dense",
        "vocabulary_head.dense": "cls/predictions/transform/dense",
    }
    norms = {
        "encoder.embeddings.norm": "bert/embeddings/LayerNorm",
        "encoder.layers.{i}.attention_residual.norm": "bert/encoder/layer_{i}/attention/output/LayerNorm",
        "encoder.layers.{i}.feed_forward_residual.norm": "bert/encoder/layer_{i}/output/LayerNorm",
        "vocabulary_head.norm": "cls/predictions/transform/LayerNorm",
    }
    # The heads of run_classifier.py and run_squad.py multiply by the transpose: they are stored as ours are.
    heads = {"sentence_head": "cls/seq_relationship/", "classifier": "", "span_head": "cls/squad/"}
    rows = {
        "encoder.embeddings.tokens.weight": "bert/embeddings/word_embeddings",
        "encoder.embeddings.token_types.weight": "bert/embeddings/token_type_embeddings",
        "encoder.positions.table.weight": "bert/embeddings/position_embeddings",
        "vocabulary_head.bias": "cls/predictions/output_bias",
    }
    for own, published in linears.items():
        rows |= {f"{own}.weight": f"{published}/kernel", f"{own}.bias": f"{published}/bias"}
    for own, published in norms.items():
        rows |= {f"{own}.weight": f"{published}/gamma", f"{own}.bias": f"{published}/beta"}
    for own, published in heads.items():
        rows |= {f"{own}.weight": f"{published}output_weights", f"{own}.bias": f"{published}output_bias"}
    return rows


HUGGING_FACE = NameTable(
    "Hugging Face",
    _hugging_face_rows(),
    aliases={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    ignored=re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)$"),
    old_endings={".gamma": ".weight", ".beta": ".bias"},
    prefix="bert.",
)

GOOGLE = NameTable(
    "Google",
    _google_rows(),
    ignored=re.compile(r"^global_step$|/(adam_[mv]|AdamWeightDecayOptimizer(_1)?)$"),
    transposed_ending="/kernel",
)

OWN = NameTable("bertsmith", {})
"""Our own names as they are, for networks that the published formats cannot express."""


def encoder_decoder_names(parameters: Iterable[str], num_layers: int) -> dict[str, str]:
    """The names in transformers' `EncoderDecoderModel` of BERTs -> ours in a `Seq2SeqNetwork` without shared layers.

    What our two sides have in common is there twice.
    """
    published, names = HUGGING_FACE.published_names(num_layers), {}
    for own in parameters:
        side, _, rest = own.partition(".")
        if side == "encoder":
            name = published[own].removeprefix(HUGGING_FACE.prefix)
            names[f"encoder.{name}"] = own
            if rest.startswith("embeddings."):
                names[f"decoder.bert.{name}"] = own
        elif side == "decoder":
            name = published[f"encoder.{rest.replace('cross_attention', 'attention')}"]
            names[f"decoder.{name.replace('.attention.', '.crossattention.') if 'cross_' in rest else name}"] = own
        else:
            names[f"decoder.{published[own]}"] = own
    return names | {
        "decoder.cls.predictions.decoder.weight": "encoder.embeddings.tokens.weight",
        "decoder.cls.predictions.decoder.bias": "vocabulary_head.bias",
    }
