"""BertConfig: labels and their number agree; unknown and impossible settings are refused with their name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.hf.config import BertConfig
from bertsmith.model.config import EncoderConfig


def test_defaults_are_those_of_bert_base() -> None:
    assert BertConfig().encoder() == EncoderConfig()
    assert BertConfig().id2label == {0: "LABEL_0", 1: "LABEL_1"}


def test_labels_and_their_number_agree() -> None:
    named = BertConfig(id2label={"1": "yes", "0": "no"})
    assert (named.num_labels, named.id2label, named.label2id) == (2, {0: "no", 1: "yes"}, {"no": 0, "yes": 1})
    assert BertConfig(num_labels=3, id2label={0: "no", 1: "yes"}).id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    stored = {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}
    assert BertConfig.from_dict(stored, num_labels=2).id2label == {0: "no", 1: "yes"}
    assert BertConfig.from_dict(stored, num_labels=1).label2id == {"LABEL_0": 0}
    assert BertConfig.from_dict(stored, id2label={0: "a"}).label2id == {"a": 0}


def test_saved_configs_come_back_with_what_we_do_not_use(tmp_path: Path) -> None:
    config = BertConfig(num_labels=3, problem_type="regression", extra={"use_cache": True})
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path) == config
    assert json.loads((tmp_path / "config.json").read_text())["use_cache"] is True
    assert BertConfig.from_pretrained(tmp_path, hidden_size=24).hidden_size == 24


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"num_labels": 0}, "num_labels should be a whole number of at least 1, not 0"),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is unknown"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label should give a name to each of 0, 1, 2"),
        ({"id2label": ["a", "b"]}, "id2label should give a name"),
    ],
)
def test_impossible_labels_are_refused(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        BertConfig(**settings)
    BertConfig().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(FileFormatError, match=rf"config\.json: {problem}"):
        BertConfig.from_pretrained(tmp_path)


def test_impossible_numbers_are_refused_when_a_model_is_built() -> None:
    with pytest.raises(SettingsError, match="hidden_size 10 is not a multiple"):
        BertConfig(hidden_size=10, num_attention_heads=3).encoder()


def test_models_that_bert_cannot_express_are_told_where_to_go(tmp_path: Path) -> None:
    values = {"model_type": "bertsmith", "encoder": EncoderConfig().model_dump(mode="json")}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(FileFormatError, match=r"load it with bertsmith\.load"):
        BertConfig.from_pretrained(tmp_path)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"no model here: expected config\.json or bert_config\.json"):
        BertConfig.read(tmp_path)
