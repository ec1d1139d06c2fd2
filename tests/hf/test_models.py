"""The Hugging Face shaped classes against `transformers`: outputs, losses, gradients and folders; and on their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from bundle_writer import write_bundle
from torch import Tensor

import bertsmith
from bertsmith.errors import FileFormatError
from bertsmith.files import write_json
from bertsmith.model.checkpoints import config_to_hugging_face, save_weights
from bertsmith.model.config import EncoderConfig
from bertsmith.model.name_tables import GOOGLE
from bertsmith.model.networks import BareNetwork
from bertsmith.model.positions import RotaryPositions

CLASSES = [
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
]
CONFIGS: dict[str, dict[str, Any]] = {
    "three heads": {"num_attention_heads": 3, "hidden_size": 24, "num_labels": 2},
    "gelu_new": {"num_attention_heads": 4, "hidden_size": 16, "hidden_act": "gelu_new", "num_labels": 1},
    "relu": {
        "num_attention_heads": 1,
        "hidden_size": 20,
        "hidden_act": "relu",
        "num_labels": 5,
        "type_vocab_size": 4,
        "layer_norm_eps": 1e-5,
        "num_hidden_layers": 3,
    },
}
BASE = {
    "vocab_size": 60,
    "num_hidden_layers": 2,
    "intermediate_size": 36,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
COLUMNS = 12


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    module: ModuleType = pytest.importorskip("transformers")
    module.logging.set_verbosity_error()
    return module


@dataclass
class Batch:
    """Rows of padded ids with the mask that says which are real."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        return dict(vars(self))


def batch(masks: list[str], type_vocab_size: int = 2, vocab_size: int = 60) -> Batch:
    """A row for each drawn mask, `#` a token; two halves of types, as for a pair."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(masks), COLUMNS)
    mask = torch.tensor([[int(place == "#") for place in row] for row in masks])
    ids = torch.randint(5, vocab_size, shape, generator=generator)
    types = (torch.arange(COLUMNS) * type_vocab_size // COLUMNS).expand(shape).clone()
    return Batch(ids * mask, mask, types)


EVERY_KIND = [
    "############",
    "#######.....",
    "##..####.#..",
    ".....#######",
    "..###.##..#.",
]
FROM_COLUMN_0 = EVERY_KIND[:3]
UNPADDED = ["############"] * 3


def theirs(transformers: ModuleType, name: str, config: dict[str, Any]) -> Any:
    torch.manual_seed(1)
    if name == "BertForQuestionAnswering":
        config = config | {"num_labels": 2}  # the width of their head for spans, which only works with two
    settings = transformers.BertConfig(**(BASE | config), attn_implementation="eager")
    model = getattr(transformers, name)(settings)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):  # zero at first, so that two swapped ones would not show
                parameter.normal_(std=0.3)
    return model.eval()


def both(transformers: ModuleType, name: str, config: dict[str, Any], folder: Path) -> tuple[Any, Any]:
    """Their random model, and ours loaded from the folder that they saved it to."""
    model = theirs(transformers, name, config)
    model.save_pretrained(folder)
    return model, getattr(bertsmith, name).from_pretrained(folder)


def targets(name: str, given: Batch, num_labels: int) -> dict[str, Tensor]:
    """Labels as the class wants them, -100 where the mask is 0 and at some tokens."""
    generator = torch.Generator().manual_seed(2)
    rows = len(given.input_ids)
    each_token = torch.randint(0, num_labels, given.input_ids.shape, generator=generator)
    each_token[:, ::3] = -100
    each_token[given.attention_mask == 0] = -100
    match name:
        case "BertForPreTraining":
            return {"labels": each_token, "next_sentence_label": torch.arange(rows) % 2}
        case "BertForMaskedLM" | "BertForTokenClassification":
            return {"labels": each_token}
        case "BertForNextSentencePrediction":
            return {"labels": torch.arange(rows) % 2}
        case "BertForSequenceClassification":
            return {
                "labels": torch.rand(rows, generator=generator) if num_labels == 1 else torch.arange(rows) % num_labels
            }
        case "BertForQuestionAnswering":  # the second start lies beyond the row, so it counts for nothing
            return {"start_positions": torch.tensor([1, 99, 3]), "end_positions": torch.tensor([4, 5, 0])}
        case "BertForMultipleChoice":
            return {"labels": torch.tensor([1])}
    return {}


def as_class_wants(name: str, given: Batch) -> Batch:
    """One question with a choice a row, for multiple choice."""
    if name != "BertForMultipleChoice":
        return given
    return Batch(given.input_ids[None], given.attention_mask[None], given.token_type_ids[None])


def assert_equal_where_real(ours: Any, others: Any, given: Batch, atol: float = 1e-5) -> None:
    """All values of an output, at the tokens and at the rows whose first column is one."""
    keep = given.attention_mask.bool()
    for key, left in ours.items():
        right = others[key]
        if key == "attentions":
            pairs = (keep[:, None, :, None] & keep[:, None, None, :]).float()
            for ours_layer, their_layer in zip(left, right, strict=True):
                torch.testing.assert_close(ours_layer, their_layer * pairs, atol=atol, rtol=0)
        elif key == "hidden_states":
            for ours_layer, their_layer in zip(left, right, strict=True):
                torch.testing.assert_close(ours_layer[keep], their_layer[keep], atol=atol, rtol=0)
        elif left.shape[:2] == keep.shape:
            torch.testing.assert_close(left[keep], right[keep], atol=atol, rtol=0)
        elif left.shape[:1] == keep.shape[:1]:
            torch.testing.assert_close(left[keep[:, 0]], right[keep[:, 0]], atol=atol, rtol=0)
        else:
            torch.testing.assert_close(left, right, atol=atol, rtol=0)


@pytest.mark.peers
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", CLASSES)
def test_outputs_equal_theirs(transformers: ModuleType, tmp_path: Path, name: str, config: dict[str, Any]) -> None:
    their_model, our_model = both(transformers, name, config, tmp_path)
    masks = FROM_COLUMN_0 if name == "BertForMultipleChoice" else EVERY_KIND
    given = batch(masks, config.get("type_vocab_size", 2))
    wanted = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        ours = our_model(**as_class_wants(name, given).inputs, **wanted)
        others = their_model(**as_class_wants(name, given).inputs, **wanted)
    assert ours.keys() == others.keys() - {"cross_attentions"}  # theirs has an empty tuple of them
    assert len(ours.hidden_states) == len(others.hidden_states) == our_model.config.num_hidden_layers + 1
    assert_equal_where_real(ours, others, given)


@pytest.mark.peers
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("name", CLASSES[1:])
def test_losses_and_gradients_equal_theirs(
    transformers: ModuleType, tmp_path: Path, name: str, config: dict[str, Any]
) -> None:
    their_model, our_model = both(transformers, name, config, tmp_path)
    masks = UNPADDED if name == "BertForQuestionAnswering" else FROM_COLUMN_0
    given = batch(masks, config.get("type_vocab_size", 2))
    num_labels = 60 if name in ("BertForMaskedLM", "BertForPreTraining") else config["num_labels"]
    wanted = targets(name, given, num_labels)
    losses = []
    for model in (their_model, our_model):
        model.train()
        losses.append(model(**as_class_wants(name, given).inputs, **wanted).loss)
        losses[-1].backward()
    torch.testing.assert_close(losses[1], losses[0], atol=1e-5, rtol=0)
    gradients = {key: parameter.grad for key, parameter in their_model.named_parameters()}
    assert gradients.keys() == dict(our_model.named_parameters()).keys()
    for key, parameter in our_model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[key], atol=1e-5, rtol=1e-4, msg=lambda m, key=key: f"{key}: {m}"
        )


@pytest.mark.peers
@pytest.mark.parametrize("name", CLASSES)
def test_they_load_what_we_save(transformers: ModuleType, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    config = bertsmith.BertConfig(**(BASE | CONFIGS["relu"] | {"num_labels": 2 if "Question" in name else 5}))
    our_model = getattr(bertsmith, name)(config).eval()
    our_model.save_pretrained(tmp_path)
    their_model, report = getattr(transformers, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    given = batch(UNPADDED, 4)
    with torch.no_grad():
        ours, others = (model(**as_class_wants(name, given).inputs) for model in (our_model, their_model.eval()))
    assert_equal_where_real(ours, others, given)


@pytest.mark.peers
@pytest.mark.parametrize("name", CLASSES)
def test_outputs_on_a_real_checkpoint_equal_theirs(transformers: ModuleType, minilm: Path, name: str) -> None:
    """In fp64: in fp32 the order of sums, another on every processor, moves some logits by 1.3e-5."""
    their_model = getattr(transformers, name).from_pretrained(minilm, attn_implementation="eager").eval()
    if name == "BertModel":
        our_model = bertsmith.BertModel.from_pretrained(minilm)
    else:  # their new head, under the same names
        our_model = getattr(bertsmith, name)(bertsmith.BertConfig.from_pretrained(minilm)).eval()
        tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
        our_model.load_state_dict({key: value for key, value in their_model.state_dict().items() if key not in tied})
    masks = FROM_COLUMN_0 if name == "BertForMultipleChoice" else EVERY_KIND
    given = batch(masks, vocab_size=30_522)
    with torch.no_grad():
        ours, others = (model.double()(**as_class_wants(name, given).inputs) for model in (our_model, their_model))
    assert_equal_where_real(ours, others, given, atol=1e-10)


@pytest.mark.peers
def test_gradients_on_a_real_checkpoint_equal_theirs(transformers: ModuleType, minilm: Path) -> None:
    their_model = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager").eval()
    our_model = bertsmith.BertModel.from_pretrained(minilm)
    given = batch(FROM_COLUMN_0, vocab_size=30_522)
    for model in (their_model, our_model):
        model(**given.inputs).pooler_output.pow(2).sum().backward()
    gradients = {key: parameter.grad for key, parameter in their_model.named_parameters()}
    for key, parameter in our_model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[key], atol=1e-5, rtol=1e-3, msg=lambda m, key=key: f"{key}: {m}"
        )


@pytest.mark.peers
@pytest.mark.parametrize(
    ("num_labels", "problem_type", "labels"),
    [
        (1, None, torch.tensor([0.5, -1.0, 2.0])),
        (1, "regression", torch.tensor([[0.5], [-1.0], [2.0]])),
        (3, "regression", torch.linspace(-1, 1, 9).view(3, 3)),
        (3, None, torch.tensor([2, 0, 1])),
        (3, "single_label_classification", torch.tensor([[2], [0], [1]])),
        (3, None, torch.eye(3)),
        (2, "multi_label_classification", torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])),
    ],
)
def test_kinds_of_labels_decide_the_loss_as_theirs(
    transformers: ModuleType, tmp_path: Path, num_labels: int, problem_type: str | None, labels: Tensor
) -> None:
    config = CONFIGS["three heads"] | {"num_labels": num_labels, "problem_type": problem_type}
    their_model, our_model = both(transformers, "BertForSequenceClassification", config, tmp_path)
    given = batch(FROM_COLUMN_0)
    ours, others = (model(**given.inputs, labels=labels) for model in (our_model, their_model))
    torch.testing.assert_close(ours.loss, others.loss, atol=1e-5, rtol=0)
    assert our_model.config.problem_type == their_model.config.problem_type


@pytest.mark.peers
def test_explicit_positions_equal_theirs(transformers: ModuleType, tmp_path: Path) -> None:
    their_model, our_model = both(transformers, "BertModel", CONFIGS["relu"], tmp_path)
    given = batch(EVERY_KIND, 4)
    positions = (given.attention_mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        ours, others = (model(**given.inputs, position_ids=positions) for model in (our_model, their_model))
    assert_equal_where_real(ours, others, given)


@pytest.mark.peers
def test_names_of_labels_survive_both_ways(transformers: ModuleType, tmp_path: Path) -> None:
    names = {0: "no", 1: "maybe", 2: "yes"}
    config = bertsmith.BertConfig(**BASE, hidden_size=12, num_attention_heads=2, id2label=names)
    bertsmith.BertForSequenceClassification(config).save_pretrained(tmp_path / "ours")
    model = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "ours")
    assert model.config.id2label == names
    model.save_pretrained(tmp_path / "theirs")
    again = bertsmith.BertForSequenceClassification.from_pretrained(tmp_path / "theirs")
    assert again.config.id2label == names
    assert again.config.label2id == {"no": 0, "maybe": 1, "yes": 2}


@pytest.mark.peers
def test_they_refuse_what_bert_cannot_express(transformers: ModuleType, tmp_path: Path) -> None:
    config = EncoderConfig(
        vocab_size=30, hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    network = BareNetwork(config.model_copy(update={"positions": RotaryPositions()}))
    write_json(tmp_path / "config.json", config_to_hugging_face(network))
    save_weights(network, tmp_path)
    with pytest.raises(ValueError, match="bertsmith"):
        transformers.AutoModel.from_pretrained(tmp_path)
    with pytest.raises(FileFormatError, match=r"load it with bertsmith\.load"):
        bertsmith.BertModel.from_pretrained(tmp_path)


def test_a_google_checkpoint_becomes_any_class(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = bertsmith.BertConfig(**BASE, hidden_size=12, num_attention_heads=2)
    model = bertsmith.BertForPreTraining(config).eval()
    names = GOOGLE.published_names(config.num_hidden_layers)
    tensors = {}
    for own, parameter in model.network.named_parameters():
        values = parameter.detach().numpy()
        tensors[names[own]] = values.T if names[own].endswith("kernel") else values
    write_bundle(tmp_path / "bert_model.ckpt", tensors)
    fields = {name: value for name, value in config.to_dict().items() if name != "model_type"}
    (tmp_path / "bert_config.json").write_text(json.dumps(fields))
    given = batch(EVERY_KIND)
    for place in (tmp_path, tmp_path / "bert_model.ckpt"):
        again = bertsmith.BertForPreTraining.from_pretrained(place)
        assert_equal_where_real(again(**given.inputs), model(**given.inputs), given, atol=0)
        classifier = bertsmith.BertForSequenceClassification.from_pretrained(place, num_labels=3)
        assert classifier(**given.inputs).logits.shape == (5, 3)


def test_the_five_lines_run_with_only_the_import_changed(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", ",", "my", "dog", "is", "cute"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    config = bertsmith.BertConfig(**(BASE | {"vocab_size": len(words)}), hidden_size=12, num_attention_heads=2)
    bertsmith.BertModel(config).save_pretrained(tmp_path)
    PATH = tmp_path  # noqa: N806

    from bertsmith import BertForSequenceClassification, BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(PATH)
    model = BertForSequenceClassification.from_pretrained(PATH, num_labels=2)
    outputs = model(**tokenizer("Hello, my dog is cute", return_tensors="pt"))
    predictions = torch.softmax(outputs.logits, dim=1)

    assert predictions.shape == (1, 2)
    torch.testing.assert_close(predictions.sum(), torch.tensor(1.0))


def test_hidden_states_are_of_the_weights_dtype_under_autocast() -> None:
    """As transformers has them: its norms compute in fp32 there."""
    model = bertsmith.BertModel(bertsmith.BertConfig(**BASE, hidden_size=32, num_attention_heads=1)).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = model(torch.arange(8)[None], output_hidden_states=True)
    assert {each.dtype for each in (out.last_hidden_state, *out.hidden_states)} == {torch.float32}
