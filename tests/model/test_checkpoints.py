"""Checkpoints: every network comes back as it was saved, from Google's format too; what cannot be right is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundle_writer as writer
import pytest
import torch
from torch import Tensor

from bertsmith.errors import FileFormatError
from bertsmith.files import write_json
from bertsmith.model.checkpoints import config_to_hugging_face, load_weights, read_config, save_weights
from bertsmith.model.config import EncoderConfig
from bertsmith.model.feedforward import GatedFeedForward, PlainFeedForward
from bertsmith.model.name_tables import GOOGLE, HUGGING_FACE, NameTable
from bertsmith.model.networks import (
    BareNetwork,
    ChoiceNetwork,
    Network,
    PretrainingNetwork,
    Seq2SeqNetwork,
    SequenceNetwork,
    SpanNetwork,
    TokenNetwork,
)
from bertsmith.model.normalization import LayerNormalization, RmsNormalization
from bertsmith.model.packed import Packed
from bertsmith.model.positions import RotaryPositions
from bertsmith.model.safe_weights import SafeWeights, write_weights

TINY = EncoderConfig(
    vocab_size=30,
    hidden_size=12,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=16,
)
BATCH = Packed.of([[2, 5, 9, 3], [2, 29, 3]], [[0, 0, 1, 1], [0, 0, 0]])

NETWORKS: dict[str, Callable[[EncoderConfig], Network]] = {
    "BertModel": BareNetwork,
    "BertForPreTraining": PretrainingNetwork,
    "BertForMaskedLM": lambda config: PretrainingNetwork(config, sentence_pairs=False),
    "BertForNextSentencePrediction": lambda config: PretrainingNetwork(config, masked_tokens=False),
    "BertForSequenceClassification": lambda config: SequenceNetwork(config, 5),
    "BertForMultipleChoice": ChoiceNetwork,
    "BertForTokenClassification": lambda config: TokenNetwork(config, 5),
    "BertForQuestionAnswering": SpanNetwork,
}


def random_network(build: Callable[[EncoderConfig], Network], config: EncoderConfig = TINY, seed: int = 0) -> Network:
    """A network in which no parameter is a constant, so that swapped ones cannot pass."""
    torch.manual_seed(seed)
    network = build(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5)
    return network


def computed(network: Network) -> list[Tensor]:
    with torch.no_grad():
        result = network(BATCH, BATCH) if isinstance(network, Seq2SeqNetwork) else network(BATCH)
    parts = [result] if isinstance(result, Tensor) else result if isinstance(result, tuple) else vars(result).values()
    return [part for part in parts if part is not None]


def save(network: Network, folder: Path, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config_to_hugging_face(network, **more))
    save_weights(network, folder)
    return folder


def change(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    """Write the weights in `folder` again, edited."""
    tensors = dict(SafeWeights.of_folder(folder))
    edit(tensors)
    write_weights(folder / "model.safetensors", tensors)


def change_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    network = random_network(NETWORKS[name])
    save(network, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [name]
    assert read_config(tmp_path) == TINY
    again = NETWORKS[name](TINY).eval()
    report = load_weights(again, tmp_path, strict=True)
    assert (report.missing, report.unused) == ((), ())
    for left, right in zip(computed(network), computed(again), strict=True):
        assert torch.equal(left, right)


VARIANTS = {
    "rotary": {"positions": RotaryPositions()},
    "gated": {"feed_forward": GatedFeedForward()},
    "pre-normalized": {"normalization": LayerNormalization(placement="pre")},
    "rms": {"normalization": RmsNormalization()},
    "factorised": {"embedding_size": 6},
    "shared": {"num_distinct_layers": 1},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("build", [PretrainingNetwork, Seq2SeqNetwork])
def test_what_bert_cannot_express_is_saved_so_that_others_refuse_it(
    tmp_path: Path, variant: str, build: Callable[[EncoderConfig], Network]
) -> None:
    config = TINY.model_copy(update=VARIANTS[variant] | {"num_attention_heads": 2})
    network = random_network(build, config)
    save(network, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bertsmith"
    again = build(read_config(tmp_path)).eval()
    load_weights(again, tmp_path, strict=True)
    for left, right in zip(computed(network), computed(again), strict=True):
        assert torch.equal(left, right)


def test_a_decoder_is_not_berts() -> None:
    assert config_to_hugging_face(Seq2SeqNetwork(TINY))["model_type"] == "bertsmith"


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu", "tanh"])
def test_configs_come_back_from_the_published_names(tmp_path: Path, activation: Any) -> None:
    config = TINY.model_copy(
        update={
            "feed_forward": PlainFeedForward(activation=activation),
            "normalization": LayerNormalization(eps=1e-5),
            "classifier_dropout": 0.3,
        }
    )
    assert read_config(save(BareNetwork(config), tmp_path)) == config


@pytest.mark.parametrize("table", [HUGGING_FACE, GOOGLE], ids=lambda table: table.format)
def test_name_tables_are_reversible_and_complete(table: NameTable) -> None:
    names = table.published_names(3)
    assert len(set(names.values())) == len(names)
    for build in NETWORKS.values():
        assert names.keys() >= dict(build(TINY).named_parameters()).keys()


# --- Google's format -------------------------------------------------------------------------------------------------


def save_as_google(network: Network, folder: Path, num_shards: int = 1) -> Path:
    """As `run_pretraining.py` leaves it: dense kernels transposed, slots of the optimizer beside each variable."""
    names = GOOGLE.published_names(TINY.num_hidden_layers)
    tensors = {}
    for own, parameter in network.named_parameters():
        values = parameter.detach().numpy()
        variable = values.T if names[own].endswith("/kernel") else values
        tensors |= {names[own] + slot: variable for slot in ("", "/adam_m", "/adam_v")}
    tensors["global_step"] = torch.tensor(1000).numpy()
    writer.write_bundle(folder / "bert_model.ckpt", tensors, num_shards)
    fields = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    config = {name: getattr(TINY, name) for name in (*fields, "max_position_embeddings", "type_vocab_size")}
    write_json(folder / "bert_config.json", config | {"hidden_act": "gelu", "initializer_range": 0.02})
    return folder


@pytest.mark.parametrize(("name", "num_shards"), [(name, 1) for name in NETWORKS] + [("BertForPreTraining", 3)])
def test_google_checkpoints_give_the_same(tmp_path: Path, name: str, num_shards: int) -> None:
    network = random_network(NETWORKS[name])
    save_as_google(network, tmp_path, num_shards)
    for place in (tmp_path, tmp_path / "bert_model.ckpt"):
        again = NETWORKS[name](read_config(place)).eval()
        report = load_weights(again, place, strict=True)
        assert (report.missing, report.unused) == ((), ())
        for left, right in zip(computed(network), computed(again), strict=True):
            assert torch.equal(left, right)


def test_google_names_are_those_of_the_release() -> None:
    # Spelled out from the variables of google-research/bert, modeling.py, run_pretraining.py and run_squad.py.
    names = GOOGLE.published_names(12)
    assert names["encoder.layers.11.attention.output.weight"] == "bert/encoder/layer_11/attention/output/dense/kernel"
    assert names["encoder.embeddings.norm.weight"] == "bert/embeddings/LayerNorm/gamma"
    assert names["encoder.positions.table.weight"] == "bert/embeddings/position_embeddings"
    assert names["vocabulary_head.bias"] == "cls/predictions/output_bias"
    assert names["sentence_head.weight"] == "cls/seq_relationship/output_weights"
    assert names["span_head.bias"] == "cls/squad/output_bias"


def test_google_checkpoint_without_its_config_is_refused(tmp_path: Path) -> None:
    save_as_google(random_network(BareNetwork), tmp_path)
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(FileFormatError, match=r"bert_config\.json: No such file"):
        read_config(tmp_path)


def test_several_google_checkpoints_in_a_folder_ask_for_a_choice(tmp_path: Path) -> None:
    save_as_google(random_network(BareNetwork), tmp_path)
    for file in list(tmp_path.glob("bert_model.ckpt.*")):
        file.with_name(file.name.replace(".ckpt", ".ckpt-2000")).write_bytes(file.read_bytes())
    with pytest.raises(FileFormatError, match=r"2 checkpoints here: name one of them, such as .*bert_model\.ckpt"):
        read_config(tmp_path)
    assert read_config(tmp_path / "bert_model.ckpt-2000") == TINY


# --- what older and other writers do ---------------------------------------------------------------------------------


def test_old_names_and_buffers_are_read(tmp_path: Path) -> None:
    network = random_network(PretrainingNetwork)
    save(network, tmp_path)

    def age(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = torch.arange(16)[None]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")

    change(tmp_path, age)
    again = PretrainingNetwork(read_config(tmp_path)).eval()
    load_weights(again, tmp_path, strict=True)
    for left, right in zip(computed(network), computed(again), strict=True):
        assert torch.equal(left, right)


def test_a_trunk_with_or_without_prefix_fills_any_network(tmp_path: Path) -> None:
    for build in (BareNetwork, PretrainingNetwork):
        network = random_network(build)
        save(network, tmp_path / build.__name__)
        target = SequenceNetwork(TINY, 2)
        report = load_weights(target, tmp_path / build.__name__)
        assert report.missing == ("classifier.weight", "classifier.bias")
        assert torch.equal(target.encoder.embeddings.tokens.weight, network.encoder.embeddings.tokens.weight)
    assert report.unused == (
        *(f"cls.predictions.{part}" for part in ("bias", "transform.LayerNorm.bias", "transform.LayerNorm.weight")),
        *(f"cls.predictions.transform.dense.{leaf}" for leaf in ("bias", "weight")),
        *(f"cls.seq_relationship.{leaf}" for leaf in ("bias", "weight")),
    )


def test_an_untied_vocabulary_head_is_refused_where_it_is_wanted(tmp_path: Path) -> None:
    save(random_network(PretrainingNetwork), tmp_path)
    change(tmp_path, lambda tensors: tensors.update({"cls.predictions.decoder.weight": torch.zeros(30, 12)}))
    load_weights(BareNetwork(TINY), tmp_path)
    with pytest.raises(FileFormatError, match=r"'cls\.predictions\.decoder\.weight' differs from .*tie the two"):
        load_weights(PretrainingNetwork(TINY), tmp_path)


def test_half_precision_is_read_into_the_types_of_the_network(tmp_path: Path) -> None:
    network = random_network(NETWORKS["BertForSequenceClassification"]).to(torch.bfloat16)
    save(network, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    again = SequenceNetwork(TINY, 5)
    load_weights(again, tmp_path)
    assert again.classifier.weight.dtype == torch.float32
    assert torch.equal(again.classifier.weight.bfloat16(), network.classifier.weight)


def test_heads_of_another_size(tmp_path: Path) -> None:
    stored = random_network(NETWORKS["BertForSequenceClassification"])
    save(stored, tmp_path)
    with pytest.raises(
        FileFormatError, match=r"'classifier\.weight' has the shape \[5, 12\], the model needs \[2, 12\]"
    ):
        load_weights(SequenceNetwork(TINY, 2), tmp_path)
    head = ("classifier.weight", "classifier.bias")
    assert load_weights(SequenceNetwork(TINY, 2), tmp_path, heads="fit").missing == head
    network = SequenceNetwork(TINY, 5)
    assert load_weights(network, tmp_path, heads="new").missing == head
    assert torch.equal(network.pooler.dense.weight, stored.pooler.dense.weight)
    assert not load_weights(network, tmp_path, heads="fit").missing


def test_strict_loading_wants_nothing_missing_and_nothing_left(tmp_path: Path) -> None:
    save(random_network(PretrainingNetwork), tmp_path)
    with pytest.raises(FileFormatError, match=r"missing \['classifier\.weight'.*without use \['cls\.predictions"):
        load_weights(SequenceNetwork(TINY, 2), tmp_path, strict=True)


# --- what is refused -------------------------------------------------------------------------------------------------

LAST = "bert.encoder.layer.2.output.dense.weight"
BAD_TENSORS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    rf"tensor '{LAST}' is missing: the model has 3 layers": lambda tensors: tensors.pop(LAST),
    rf"tensor '{LAST}' has the shape \[12, 19\], the model needs \[12, 20\]": lambda tensors: tensors.update(
        {LAST: torch.zeros(12, 19)}
    ),
    rf"tensor '{LAST}' holds NaN": lambda tensors: tensors[LAST].fill_(float("nan")),
    rf"tensor '{LAST}' holds NaN or infinity": lambda tensors: tensors[LAST][0, 0].fill_(float("-inf")),
    rf"tensor '{LAST}' holds torch.int8.*quantized": lambda tensors: tensors.update(
        {LAST: tensors[LAST].to(torch.int8)}
    ),
    "tensor 'bert.encoder.layer.3.output.dense.weight' has no place": lambda tensors: tensors.update(
        {LAST.replace("2", "3"): tensors[LAST]}
    ),
    "tensor 'bert.embeddings.rotary' has no place in a Hugging Face BERT of 3 layers": lambda tensors: tensors.update(
        {"bert.embeddings.rotary": torch.zeros(1)}
    ),
}


@pytest.mark.parametrize("problem", BAD_TENSORS)
def test_bad_tensors_are_refused(tmp_path: Path, problem: str) -> None:
    save(random_network(PretrainingNetwork), tmp_path)
    change(tmp_path, BAD_TENSORS[problem])
    with pytest.raises(FileFormatError, match=rf"^{re.escape(str(tmp_path))}.*{problem}"):
        load_weights(PretrainingNetwork(TINY), tmp_path)


def test_unknown_tensors_among_our_own_names_are_refused(tmp_path: Path) -> None:
    save(random_network(PretrainingNetwork, TINY.model_copy(update={"embedding_size": 6})), tmp_path)
    change(tmp_path, lambda tensors: tensors.update({"encoder.extra": torch.zeros(1)}))
    with pytest.raises(FileFormatError, match=r"'encoder\.extra' has no place in a bertsmith BERT"):
        read_config(tmp_path)


BAD_CONFIGS: dict[str, dict[str, Any]] = {
    "model_type 'roberta': checkpoints of RoBERTa are not read yet": {"model_type": "roberta"},
    "model_type 'distilbert': checkpoints of DistilBERT": {"model_type": "distilbert"},
    "model_type 'albert': checkpoints of ALBERT": {"model_type": "albert"},
    "model_type 'modernbert': checkpoints of ModernBERT": {"model_type": "modernbert"},
    "model_type 'electra'": {"model_type": "electra"},
    "model_type 'bertt' is not BERT's; did you mean 'bert'": {"model_type": "bertt"},
    "model_type 7 is not BERT's": {"model_type": 7},
    "hidden_size: .*greater than or equal to 1": {"hidden_size": 0},
    "hidden_size 13 is not a multiple of num_attention_heads 3": {"hidden_size": 13},
    "num_hidden_layers: .*-1": {"num_hidden_layers": -1},
    "num_hidden_layers: .*1000000": {"num_hidden_layers": 1_000_000},
    "vocab_size: .*many": {"vocab_size": "many"},
    "vocab_size is missing": {"vocab_size": None},
    "hidden_dropout_prob: .*less than 1": {"hidden_dropout_prob": 1.5},
    "pad_token_id 30 is outside": {"pad_token_id": 30},
    "layer_norm_eps -1 should be a number": {"layer_norm_eps": -1},
    "layer_norm_eps 'x' should be a number": {"layer_norm_eps": "x"},
    "hidden_act 'gelus' is unknown; did you mean 'gelu'": {"hidden_act": "gelus"},
    r"hidden_act \['gelu'\] is unknown": {"hidden_act": ["gelu"]},
    "position_embedding_type 'relative_key'": {"position_embedding_type": "relative_key"},
    "is_decoder True": {"is_decoder": True},
    "quantization_config": {"quantization_config": {"bits": 4}},
    "pruned_heads": {"pruned_heads": {"0": [1]}},
    "auto_map .*names code to run": {"auto_map": {"AutoModel": "modeling.Evil"}},
    "trust_remote_code": {"trust_remote_code": True},
    "tokenizer_class 'evil.Tokenizer' names code": {"tokenizer_class": "evil.Tokenizer"},
    "auto_map .*AutoConfig": {"nested": [{"auto_map": {"AutoConfig": "a--b.C"}}]},
}


@pytest.mark.parametrize("problem", BAD_CONFIGS)
def test_bad_configs_are_refused(tmp_path: Path, problem: str) -> None:
    save(BareNetwork(TINY), tmp_path)
    change_config(tmp_path, **BAD_CONFIGS[problem])
    with pytest.raises(FileFormatError, match=rf"config\.json: .*{problem}"):
        read_config(tmp_path)


def test_bad_values_in_our_own_config_are_refused(tmp_path: Path) -> None:
    save(Seq2SeqNetwork(TINY), tmp_path)
    for encoder, problem in [({"hidden_sizes": 1}, "did you mean 'hidden_size'"), (3, "encoder: expected an object")]:
        change_config(tmp_path, encoder=encoder)
        with pytest.raises(FileFormatError, match=rf"config\.json: .*{problem}"):
            read_config(tmp_path)


def test_a_config_that_would_not_fit_in_memory_is_refused_before_it_is_tried(tmp_path: Path) -> None:
    save(BareNetwork(TINY), tmp_path)
    # 2 x 65,536 x 1,048,576 x 40 weights: 22 TB in float32.
    change_config(tmp_path, hidden_size=2**16, num_attention_heads=1, intermediate_size=2**20, num_hidden_layers=40)
    with pytest.raises(FileFormatError, match=r"has the shape .* the model needs"):
        read_config(tmp_path)


def test_broken_and_missing_configs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"no model here: expected config\.json"):
        read_config(tmp_path)
    with pytest.raises(FileFormatError, match="no model here: expected a folder"):
        read_config(tmp_path / "absent")
    save(BareNetwork(TINY), tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileFormatError, match=r"config\.json: not valid JSON"):
        read_config(tmp_path)


def test_a_folder_with_pickles_alone_is_refused(tmp_path: Path) -> None:
    save(BareNetwork(TINY), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileFormatError, match=r"pytorch_model\.bin: .*can run code"):
        read_config(tmp_path)
    with pytest.raises(FileFormatError, match=r"pytorch_model\.bin: .*can run code"):
        read_config(tmp_path / "pytorch_model.bin")


def test_a_config_without_model_type_is_read_as_bert(tmp_path: Path) -> None:
    save(BareNetwork(TINY), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "model_type"}))
    assert read_config(tmp_path) == TINY
