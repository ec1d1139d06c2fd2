"""What users do with the models in their own loops: train, freeze, replace, copy, save; and what they are told."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.hf.base import BertModel
from bertsmith.hf.config import BertConfig
from bertsmith.hf.models import BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification

IDS = torch.tensor([[2, 5, 9, 3], [2, 7, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def tiny(**changes: Any) -> BertConfig:
    return BertConfig(
        vocab_size=30,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=20,
        max_position_embeddings=16,
        **changes,
    )


def classifier(**changes: Any) -> BertForSequenceClassification:
    torch.manual_seed(0)
    return BertForSequenceClassification(tiny(**changes))


def test_a_plain_loop_trains_it() -> None:
    model = classifier(initializer_range=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    model.train()
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(IDS, MASK, labels=torch.tensor([0, 1])).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]


def test_parameters_carry_the_names_that_scripts_look_for() -> None:
    model = classifier()
    decayed = [
        name for name, _ in model.named_parameters() if not any(part in name for part in ("bias", "LayerNorm.weight"))
    ]
    assert all(
        name.endswith(("dense.weight", "embeddings.weight", "query.weight", "key.weight", "value.weight"))
        for name in decayed
        if name != "classifier.weight"
    )
    for parameter in model.bert.parameters():
        parameter.requires_grad = False
    model(IDS, MASK, labels=torch.tensor([0, 1])).loss.backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_names_hold_inside_a_module_of_the_users_own() -> None:
    parent = torch.nn.ModuleDict({"text": BertModel(tiny())})
    assert "text.encoder.layer.1.attention.self.query.weight" in dict(parent.named_parameters())
    assert dict(parent.named_parameters()).keys() == parent.state_dict().keys()
    parent.eval()
    assert not parent["text"].network.encoder.embeddings.dropout.training


def test_modes_reach_dropout() -> None:
    model = classifier()
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)
    model.eval()
    assert torch.equal(model(IDS).logits, model(IDS).logits)


def test_bert_shares_the_weights_and_computes_the_trunk() -> None:
    model = classifier().eval()
    with torch.no_grad():
        pooled = model.bert(IDS, MASK).pooler_output
        torch.testing.assert_close(model.classifier(pooled), model(IDS, MASK).logits)
    assert BertForTokenClassification(tiny()).bert(IDS).pooler_output is None


def test_a_replaced_head_is_the_one_that_computes() -> None:
    model = classifier().eval()
    model.classifier = torch.nn.Linear(12, 7)
    assert model(IDS).logits.shape == (2, 7)
    assert {tuple(p.shape) for n, p in model.named_parameters() if n.startswith("classifier")} == {(7, 12), (7,)}
    model.bert.encoder.layer[0].attention.self.query = torch.nn.Identity()
    assert isinstance(model.network.encoder.layers[0].attention.query, torch.nn.Identity)


def test_containers_cannot_be_replaced_without_effect() -> None:
    model = classifier()
    with pytest.raises(AttributeError, match="'bert' only holds names"):
        model.bert = BertModel(tiny())


def test_copies_are_independent() -> None:
    model = classifier().eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.classifier.weight.zero_()
        twin.classifier.bias.zero_()
    assert torch.count_nonzero(twin(IDS).logits) == 0
    assert torch.count_nonzero(model(IDS).logits) == 4


def test_state_dicts_come_back() -> None:
    model, other = classifier().eval(), BertForSequenceClassification(tiny()).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(IDS).logits, other(IDS).logits)


def test_conversion_reaches_every_parameter() -> None:
    model = classifier().double().eval()
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float64} == {model.dtype}
    assert model(IDS).logits.dtype == torch.float64


def test_saved_models_come_back(tmp_path: Path) -> None:
    model = classifier(num_labels=3, id2label={0: "a", 1: "b", 2: "c"}).eval()
    model.save_pretrained(tmp_path / "model")
    again = BertForSequenceClassification.from_pretrained(tmp_path / "model")
    assert torch.equal(model(IDS).logits, again(IDS).logits)
    assert again.config == model.config
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]


def test_the_trunk_is_saved_alone(tmp_path: Path) -> None:
    model = classifier().eval()
    model.bert.save_pretrained(tmp_path)
    again = BertModel.from_pretrained(tmp_path)
    assert torch.equal(model.bert(IDS).pooler_output, again(IDS).pooler_output)


def test_loading_tells_what_is_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    BertModel(tiny()).save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "bertsmith"):
        model = BertForSequenceClassification.from_pretrained(tmp_path, num_labels=4)
    assert "new and in need of training: classifier.weight, classifier.bias" in caplog.text
    assert model.classifier.out_features == model.config.num_labels == 4
    assert not model.training


def test_a_head_of_another_size_is_refused_or_new_on_request(tmp_path: Path) -> None:
    classifier(num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(FileFormatError, match=r"'classifier\.weight' has the shape \[3, 12\]"):
        BertForSequenceClassification.from_pretrained(tmp_path, num_labels=2)
    model = BertForSequenceClassification.from_pretrained(tmp_path, num_labels=2, ignore_mismatched_sizes=True)
    assert model(IDS).logits.shape == (2, 2)


def test_unknown_settings_and_options_suggest_the_nearest(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="no setting 'num_lables'; did you mean 'num_labels'"):
        BertForSequenceClassification.from_pretrained(tmp_path, num_lables=2)
    with pytest.raises(TypeError, match="takes no 'output_attention'; did you mean 'output_attentions'"):
        classifier()(IDS, output_attention=True)


def test_code_in_a_folder_is_refused(tmp_path: Path) -> None:
    classifier().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(FileFormatError, match=r"auto_map .* names code to run"):
        BertModel.from_pretrained(tmp_path)


def test_outputs_as_tuples_and_by_the_configs_wish() -> None:
    model = classifier(output_hidden_states=True).eval()
    logits, hidden_states = model(IDS, return_dict=False)
    assert logits.shape == (2, 2)
    assert [states.shape for states in hidden_states] == [(2, 4, 12)] * 3
    assert model(IDS, output_hidden_states=False).hidden_states is None


def test_padding_changes_nothing_and_comes_out_as_zero() -> None:
    model = BertModel(tiny()).eval()
    with torch.no_grad():
        alone = model(IDS[1:, :3])
        padded = model(IDS, MASK, output_attentions=True, output_hidden_states=True)
        left = model(
            torch.tensor([[0, 0, 2, 7, 3]]),
            torch.tensor([[0, 0, 1, 1, 1]]),
            position_ids=torch.arange(-2, 3).clamp(0)[None],
        )
    torch.testing.assert_close(padded.last_hidden_state[1, :3], alone.last_hidden_state[0])
    torch.testing.assert_close(left.last_hidden_state[:, 2:], alone.last_hidden_state)
    torch.testing.assert_close(left.pooler_output, alone.pooler_output)
    assert torch.count_nonzero(padded.last_hidden_state[1, 3]) == 0
    assert torch.count_nonzero(padded.hidden_states[1][1, 3]) == 0
    assert (
        torch.count_nonzero(padded.attentions[0][1, :, 3]) == torch.count_nonzero(padded.attentions[0][1, :, :, 3]) == 0
    )
    torch.testing.assert_close(padded.attentions[1][1].sum(-1), MASK[1].float().expand(2, 4))


def test_no_answer_lies_in_padding() -> None:
    model = BertForQuestionAnswering(tiny()).eval()
    with torch.no_grad():
        model.qa_outputs.bias.fill_(-1000.0)
        answer = model(IDS, MASK)
    assert answer.start_logits[1].argmax() < 3
    assert answer.end_logits[1].softmax(-1)[3] == 0
