"""Adapters saved apart and merged: ours and PEFT's, each loaded by the other, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.cli.main import main
from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.files import read_json, write_json
from bertsmith.inference.predictor import Predictor
from bertsmith.model.adapters import ADAPTER_CONFIG, load_adapter, open_adapter, save_adapter
from bertsmith.model.checkpoints import CONFIG, config_to_hugging_face, load_weights, read_config, save_weights
from bertsmith.model.feedforward import GatedFeedForward
from bertsmith.model.lora import install_lora, lora_layers, merged
from bertsmith.model.networks import (
    BareNetwork,
    ChoiceNetwork,
    EmbeddingNetwork,
    Network,
    SequenceNetwork,
    SpanNetwork,
    TokenNetwork,
)
from bertsmith.model.packed import Packed
from bertsmith.model.safe_weights import write_weights
from bertsmith.recipes.merge import ADAPTER, ADAPTER_RECORD, MergeSettings, merge, save_run_adapter, update_run_adapter

TEXTS = [[2, 7, 8, 9, 3], [2, 11, 3]]

Build = Callable[[Any], Network]
NETWORKS: dict[str, Build] = {
    "sequence": lambda config: SequenceNetwork(config, num_labels=3),
    "token": lambda config: TokenNetwork(config, num_labels=5),
    "span": SpanNetwork,
    "choice": ChoiceNetwork,
    "bare": BareNetwork,
    "embedding": lambda config: EmbeddingNetwork(config, normalize=False),
    "trunk": lambda config: BareNetwork(config, pooled=False),
    "gated": lambda config: SequenceNetwork(config.model_copy(update={"feed_forward": GatedFeedForward()}), 3),
}


def save_base(network: Network, folder: Path) -> Path:
    folder.mkdir()
    write_json(folder / CONFIG, config_to_hugging_face(network))
    save_weights(network, folder)
    toy_tokenizer().save(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained trunk with its pooler, and a tokenizer."""
    torch.manual_seed(3)
    return save_base(BareNetwork(toy_config(initializer_range=0.2)), tmp_path_factory.mktemp("models") / "base")


def adapted(base: Path, build: Build, *, targets: tuple[Any, ...] = ("query", "value")) -> Network:
    """A network over `base` with a new head, and adapters that have learned something."""
    torch.manual_seed(4)
    network = build(read_config(base))
    load_weights(network, base, heads="fit")
    install_lora(network, targets, rank=3, alpha=5)
    for _, layer in lora_layers(network):
        torch.nn.init.normal_(layer.lora_b)
    return network.eval()


def run_with_adapter(base: Path, folder: Path) -> Artifact:
    """A folder as a fine-tuning run leaves it: the merged model, and its adapter apart."""
    task = toy_task("classification").task
    network = adapted(base, task.build, targets=("all_linear",))
    record = {"metrics": {"validation": {"accuracy": 0.5}}}
    artifact = Artifact(task, network, toy_tokenizer(), record)
    save_artifact(folder, Artifact(task, merged(network), toy_tokenizer(), record))
    save_run_adapter(folder, artifact, base=str(base))
    return artifact


def logits(network: Network) -> torch.Tensor:
    with torch.no_grad():
        out = network.eval()(Packed.of(TEXTS))
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("name", NETWORKS)
def test_an_adapter_saved_and_loaded_is_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build = NETWORKS[name]
    place = save_base(build(toy_config()), tmp_path / "base")
    network = adapted(place, build)
    save_adapter(network, tmp_path, base="base")
    torch.manual_seed(9)
    other = build(toy_config())
    load_weights(other, place, heads="new")
    brought = load_adapter(other, open_adapter(tmp_path))
    assert torch.equal(logits(other), logits(network))
    assert set(brought) == {name for name, _ in network.named_parameters() if not name.startswith("encoder.")}


def test_the_files_by_name(base: Path, tmp_path: Path) -> None:
    save_adapter(adapted(base, NETWORKS["sequence"], targets=("query", "feed_forward")), tmp_path, base="a-base")
    config = read_json(tmp_path / ADAPTER_CONFIG)
    assert (config["task_type"], config["r"], config["lora_alpha"]) == ("SEQ_CLS", 3, 5.0)
    assert config["base_model_name_or_path"] == "a-base"
    assert config["modules_to_save"] == ["pooler", "classifier"]
    assert config["target_modules"][:3] == [
        "encoder.layer.0.attention.self.query",
        "encoder.layer.0.intermediate.dense",
        "encoder.layer.0.output.dense",
    ]
    names = open_adapter(tmp_path).names
    assert "bert.encoder.layer.1.attention.self.query.lora_A.weight" in names
    assert {name for name in names if "lora" not in name} == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }


def test_a_run_s_adapter_merges_into_the_run_s_model(base: Path, tmp_path: Path) -> None:
    artifact = run_with_adapter(base, tmp_path / "run")
    report = merge(MergeSettings(base=base, adapter=tmp_path / "run", output_dir=tmp_path / "merged"))
    assert (report.task, report.num_adapted_layers, report.left_out) == ("classification", 12, ())
    ours, theirs = load_artifact(tmp_path / "merged"), load_artifact(tmp_path / "run")
    assert ours.task == theirs.task == artifact.task
    assert ours.record["metrics"] == {"validation": {"accuracy": 0.5}}
    for (name, one), (_, two) in zip(ours.network.named_parameters(), theirs.network.named_parameters(), strict=True):
        assert torch.equal(one, two), name
    torch.testing.assert_close(logits(ours.network), logits(artifact.network), atol=1e-6, rtol=1e-5)
    samples = toy_task("classification").samples
    assert len(Predictor.of(ours, device="cpu").run(samples).predictions) == len(samples)


def test_the_verb(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_with_adapter(base, tmp_path / "run")
    arguments = ["merge", str(base), str(tmp_path / "run" / ADAPTER), "--output-dir", str(tmp_path / "merged")]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_adapted_layers"] == 12
    assert main(arguments) == 2
    assert "holds a model already" in capsys.readouterr().err
    assert main([*arguments, "--overwrite-output-dir"]) == 0


def test_what_is_known_after_training_reaches_the_adapter_s_record(base: Path, tmp_path: Path) -> None:
    artifact = run_with_adapter(base, tmp_path / "run")
    cut_sooner = type(artifact.task)(artifact.task.settings.model_copy(update={"max_length": 9}))
    update_run_adapter(tmp_path / "run", Artifact(cut_sooner, artifact.network, artifact.tokenizer, {"metrics": {}}))
    merge(MergeSettings(base=base, adapter=tmp_path / "run", output_dir=tmp_path / "merged"))
    found = load_artifact(tmp_path / "merged")
    assert (found.task, found.record["metrics"]) == (cut_sooner, {})
    update_run_adapter(base, artifact)
    assert not (base / ADAPTER).exists()


def test_a_later_run_without_adapters_leaves_none(base: Path, tmp_path: Path) -> None:
    artifact = run_with_adapter(base, tmp_path / "run")
    assert (tmp_path / "run" / ADAPTER / ADAPTER_RECORD).is_file()
    plain = Artifact(artifact.task, merged(artifact.network), artifact.tokenizer)
    save_run_adapter(tmp_path / "run", plain, base=str(base))
    assert not (tmp_path / "run" / ADAPTER).exists()


# --- the PEFT library ------------------------------------------------------------------------------------------------

THEIR_CLASSES = {
    "sequence": "BertForSequenceClassification",
    "token": "BertForTokenClassification",
    "span": "BertForQuestionAnswering",
    "choice": "BertForMultipleChoice",
    "bare": "BertModel",
    "embedding": "BertModel",
}


def their_model(name: str, folder: Path, **config: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    return getattr(transformers, THEIR_CLASSES[name]).from_pretrained(folder, **config).eval()


def their_logits(name: str, model: Any) -> torch.Tensor:
    """The outputs for `TEXTS`, shaped as ours."""
    rows = []
    for ids in TEXTS:
        given = torch.tensor([[ids]] if name == "choice" else [ids])
        with torch.no_grad():
            out = model(input_ids=given)
        match name:
            case "sequence" | "choice" | "token":
                rows.append(out.logits[0])
            case "span":
                rows.append(torch.stack((out.start_logits[0], out.end_logits[0]), dim=-1))
            case "bare":
                rows.append(out.last_hidden_state[0])
            case "embedding":
                rows.append(out.last_hidden_state[0].mean(0))
    return torch.stack(rows) if name in ("sequence", "embedding") else torch.cat(rows)


@pytest.mark.peers
@pytest.mark.parametrize("name", THEIR_CLASSES)
@pytest.mark.parametrize("targets", [("query", "value"), ("attention_output",), ("all_linear",)])
def test_peft_computes_the_same_from_our_adapter(
    name: str, targets: tuple[str, ...], base: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    network = adapted(base, NETWORKS[name], targets=targets)
    save_adapter(network, tmp_path, base=str(base))
    more = {"sequence": {"num_labels": 3}, "token": {"num_labels": 5}}.get(name, {})
    model = peft.PeftModel.from_pretrained(their_model(name, base, **more), str(tmp_path)).eval()
    torch.testing.assert_close(their_logits(name, model), logits(network), atol=1e-5, rtol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"rank_pattern": {"query": 2}}, {"task_type": None}])
@pytest.mark.parametrize("name", ["sequence", "token", "span", "bare"])
def test_we_compute_the_same_from_peft_s_adapter(
    name: str, options: dict[str, Any], base: Path, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    task_type = {"sequence": "SEQ_CLS", "token": "TOKEN_CLS", "span": "QUESTION_ANS", "bare": "FEATURE_EXTRACTION"}
    given = {"r": 4, "lora_alpha": 6, "target_modules": ["query", "dense"], "task_type": task_type[name]} | options
    if given["task_type"] is None and name != "bare":
        given["modules_to_save"] = ["qa_outputs" if name == "span" else "classifier"]
    more = {"sequence": {"num_labels": 3}, "token": {"num_labels": 5}}.get(name, {})
    torch.manual_seed(6)
    model = peft.get_peft_model(their_model(name, base, **more), peft.LoraConfig(**given)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    model.save_pretrained(tmp_path / "peft")
    report = merge(MergeSettings(base=base, adapter=tmp_path / "peft", output_dir=tmp_path / "merged"))
    assert report.task is None
    ours = NETWORKS[name](read_config(tmp_path / "merged"))
    load_weights(ours, tmp_path / "merged", strict=True)
    torch.testing.assert_close(logits(ours), their_logits(name, model), atol=1e-5, rtol=1e-5)
    merged_there = their_model(name, tmp_path / "merged")
    torch.testing.assert_close(their_logits(name, merged_there), their_logits(name, model), atol=1e-5, rtol=1e-5)


@pytest.mark.peers
def test_transformers_reads_a_run_s_folder_and_passes_by_the_adapter_in_it(base: Path, tmp_path: Path) -> None:
    artifact = run_with_adapter(base, tmp_path / "run")
    model = their_model("sequence", tmp_path / "run")
    torch.testing.assert_close(their_logits("sequence", model), logits(artifact.network), atol=1e-5, rtol=1e-5)


# --- what is refused -------------------------------------------------------------------------------------------------


def bare_adapter(base: Path, folder: Path, name: str = "sequence", **changes: Any) -> MergeSettings:
    """An adapter without a record, as PEFT's are, its config changed."""
    folder.mkdir()
    save_adapter(adapted(base, NETWORKS[name]), folder, base=str(base))
    write_json(folder / ADAPTER_CONFIG, read_json(folder / ADAPTER_CONFIG) | changes)
    return MergeSettings(base=base, adapter=folder, output_dir=folder.parent / "merged")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', only LORA can be read"),
        ({"use_dora": True}, "use_dora is True, which changes how the model computes"),
        ({"alpha_pattern": {"query": 2}}, "alpha_pattern is .* which changes how"),
        ({"something_new": 1}, "something_new is 1, which changes how"),
        ({"bias": "all"}, "bias is 'all', only 'none' can be read"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
        ({"lora_alpha": 0}, "lora_alpha: expected a number above 0, found 0"),
        ({"r": True}, "r: expected a number above 0, found True"),
        ({"task_type": "CAUSAL_LM"}, "an adapter of 'CAUSAL_LM'; known are"),
        ({"task_type": "QUESTION_ANS"}, r"bert\.pooler\.\S+ has no place in a SpanNetwork of 2 layers"),
    ],
)
def test_configs_that_cannot_be_merged(changes: dict[str, Any], message: str, base: Path, tmp_path: Path) -> None:
    settings = bare_adapter(base, tmp_path / "adapter", **changes)
    with pytest.raises(FileFormatError, match=message):
        merge(settings)
    assert not (tmp_path / "merged").exists()


def test_a_head_that_nobody_brings(base: Path, tmp_path: Path) -> None:
    settings = bare_adapter(base, tmp_path / "adapter", "trunk", task_type="SEQ_CLS")
    with pytest.raises(FileFormatError, match="SEQ_CLS needs a trained classifier"):
        merge(settings)
    settings = bare_adapter(base, tmp_path / "another", "trunk", task_type="QUESTION_ANS")
    with pytest.raises(FileFormatError, match=r"neither the adapter nor .* holds span_head.bias, span_head.weight"):
        merge(settings)


def test_tensors_that_do_not_fit(base: Path, tmp_path: Path) -> None:
    settings = bare_adapter(base, tmp_path / "adapter")
    adapter = open_adapter(tmp_path / "adapter")
    good = {name: adapter.weights[name] for name in adapter.weights}
    query = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_{}.weight"
    for changed, message in (
        ({query.format("A"): torch.zeros(3, 8)}, "expected lora_A of 32 columns"),
        ({query.format("A"): torch.zeros(0, 32)}, "expected lora_A of 32 columns"),
        ({query.format("B"): torch.zeros(8, 3)}, r"has the shape \[8, 3\], the model needs \[32, 3\]"),
        ({query.format("B"): torch.full((32, 3), torch.nan)}, "holds torch.float32, NaN or infinity"),
        ({query.format("magnitude"): torch.zeros(32)}, "has no place in a SequenceNetwork"),
        ({"base_model.model.bert.embeddings.LayerNorm.lora_A.weight": torch.zeros(3, 32)}, "of a linear layer"),
        ({"classifier.weight": torch.zeros(3, 32)}, "names of an adapter start with"),
    ):
        write_weights(tmp_path / "adapter" / "adapter_model.safetensors", good | changed)
        with pytest.raises(FileFormatError, match=message):
            merge(settings)
    for matrix in "AB":
        missing = {name: tensor for name, tensor in good.items() if name != query.format(matrix)}
        write_weights(tmp_path / "adapter" / "adapter_model.safetensors", missing)
        with pytest.raises(FileFormatError, match="expected lora_A and lora_B of a linear layer"):
            merge(settings)


def test_a_pickle_is_not_opened(base: Path, tmp_path: Path) -> None:
    settings = bare_adapter(base, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(FileFormatError, match="can run code"):
        merge(settings)


def test_a_folder_without_an_adapter(base: Path, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"no adapter here: expected adapter_config\.json"):
        merge(MergeSettings(base=base, adapter=base, output_dir=tmp_path / "merged"))


def test_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    run_with_adapter(base, tmp_path / "run")
    torch.manual_seed(99)
    other = save_base(BareNetwork(toy_config()), tmp_path / "other")
    with pytest.raises(FileFormatError, match=r"trained over '.*base', whose weights are not those of .*other"):
        merge(MergeSettings(base=other, adapter=tmp_path / "run", output_dir=tmp_path / "merged"))


def test_a_changed_adapter_is_refused(base: Path, tmp_path: Path) -> None:
    run_with_adapter(base, tmp_path / "run")
    config = tmp_path / "run" / ADAPTER / ADAPTER_CONFIG
    write_json(config, read_json(config) | {"lora_alpha": 100})
    with pytest.raises(FileFormatError, match=r"does not match its hash in bertsmith_adapter\.json"):
        merge(MergeSettings(base=base, adapter=tmp_path / "run", output_dir=tmp_path / "merged"))


def test_the_output_folder_is_looked_at_first(base: Path, tmp_path: Path) -> None:
    settings = MergeSettings(base="no such base", adapter="no such adapter", output_dir=base)
    with pytest.raises(SettingsError, match="holds a model"):
        merge(settings)
