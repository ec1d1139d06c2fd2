"""The Hugging Face shaped tokenizer: equal to `transformers`' in every option that both have."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.hf.tokenizer import BertTokenizer
from bertsmith.text.tokenizer import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = [*SPECIAL, *"abcdehlow!?,", *("##" + c for c in "abcdehlow"), "hello", "world", "##llo", "中"]
TEXTS = ["Hello, world!", "a b c d e", "", "held [MASK] 中文 Wörld?", "he" * 30]
PAIRS = ["a", "hello world hello world", "b c", "", "wow!"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.from_vocab(VOCAB).save(path)
    (path / "config.json").write_text('{"model_type": "bert"}')
    return path


@pytest.fixture(scope="module")
def ours(folder: Path) -> BertTokenizer:
    return BertTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return pytest.importorskip("transformers").BertTokenizer.from_pretrained(str(folder))


def same(found: Any, expected: Any) -> None:
    assert list(found) == list(expected)
    for name in expected:
        if hasattr(expected[name], "dtype"):
            assert found[name].dtype == expected[name].dtype
            assert found[name].shape == expected[name].shape
            assert (found[name] == expected[name]).all()
        else:
            assert found[name] == expected[name]


CALLS: list[dict[str, Any]] = [
    {},
    {"add_special_tokens": False},
    {"padding": True},
    {"padding": "longest", "pad_to_multiple_of": 8, "return_tensors": "pt"},
    {"padding": "max_length", "max_length": 40},
    {"padding": "max_length", "max_length": 90, "return_tensors": "np"},
    {"padding": "max_length", "max_length": 12, "truncation": True, "return_tensors": "pt"},
    {"padding": "max_length"},
    {"max_length": 9},
    {"truncation": True},
    {"truncation": "longest_first", "max_length": 6},
    {"padding": True, "return_special_tokens_mask": True, "return_offsets_mapping": True},
    {"return_attention_mask": False, "return_token_type_ids": False},
    {"padding": True, "return_special_tokens_mask": True, "return_offsets_mapping": True, "return_tensors": "np"},
]


@pytest.mark.peers
@pytest.mark.parametrize("options", CALLS, ids=str)
@pytest.mark.parametrize("with_pairs", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
def test_calls_equal(folder: Path, theirs: Any, options: dict[str, Any], with_pairs: bool, side: Any) -> None:
    ours = BertTokenizer.from_pretrained(folder, padding_side=side)
    inputs = [(TEXTS, PAIRS), *zip(TEXTS, PAIRS, strict=True)]
    for text, pair in inputs if with_pairs else [(text, None) for text, _ in inputs]:
        same(ours(text, pair, **options), theirs(text, pair, padding_side=side, **options))


@pytest.mark.peers
@pytest.mark.parametrize("truncation", ["only_first", "only_second"])
def test_truncating_one_text_equals(ours: BertTokenizer, theirs: Any, truncation: Any) -> None:
    texts = ["a b c d e a b c d e"] * 2
    pairs = ["c d e a b c", "a b c d e a b"]
    for max_length in (14, 16, 20):
        options = {"truncation": truncation, "max_length": max_length}
        same(ours(texts, pairs, **options), theirs(texts, pairs, **options))
    with pytest.raises(DataError, match="cannot be cut"):
        ours("a", "b " * 30, truncation="only_first", max_length=8)


@pytest.mark.peers
def test_words_equal(ours: BertTokenizer, theirs: Any) -> None:
    words = [["Hello", "world!", ""], ["a", "bed"]]
    pairs = [["wow"], ["c", "d"]]
    options: dict[str, Any] = {"is_split_into_words": True, "padding": True, "return_offsets_mapping": True}
    for pair in (None, pairs):
        found, expected = ours(words, pair, **options), theirs(words, pair, **options)
        same(found, expected)
        length = len(found.encodings[0])
        assert found.word_ids(0) == expected.word_ids(0)[:length]
        assert found.sequence_ids(0) == expected.sequence_ids(0)[:length]
    same(ours(words[0], **options), theirs(words[0], **options))


@pytest.mark.peers
def test_the_other_methods_equal(ours: BertTokenizer, theirs: Any) -> None:
    for text, pair in itertools.product(TEXTS, [None, *PAIRS]):
        assert ours.encode(text, pair) == theirs.encode(text, pair)
        assert ours.tokenize(text, pair) == theirs.tokenize(text, pair)
        ids = theirs.encode(text, pair)
        for skip in (False, True):
            assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
            assert ours.convert_ids_to_tokens(ids, skip) == theirs.convert_ids_to_tokens(ids, skip)
    rows = theirs(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    assert ours.batch_decode(rows) == theirs.batch_decode(rows)
    assert ours.decode(torch.tensor(5)) == theirs.decode(5)
    assert ours.convert_ids_to_tokens(5) == theirs.convert_ids_to_tokens(5)
    for tokens in ("hello", "nowhere", ["hello", "nowhere", "[MASK]"]):
        assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    assert ours.get_vocab() == theirs.get_vocab()
    for pair in (False, True):
        assert ours.num_special_tokens_to_add(pair) == theirs.num_special_tokens_to_add(pair)


@pytest.mark.peers
def test_attributes_equal(ours: BertTokenizer, theirs: Any) -> None:
    names = ["vocab_size", "model_max_length", "padding_side", "is_fast"]
    names += [f"{name}_token{end}" for name in ("pad", "unk", "cls", "sep", "mask") for end in ("", "_id")]
    for name in names:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert sorted(ours.all_special_ids) == sorted(theirs.all_special_ids)
    assert sorted(ours.all_special_tokens) == sorted(theirs.all_special_tokens)
    assert list(ours.model_input_names) == list(theirs.model_input_names)
    assert len(ours) == len(theirs)


@pytest.mark.peers
def test_padding_what_is_already_encoded_equals(ours: BertTokenizer, theirs: Any) -> None:
    rows = [{**ours(text), "labels": number} for number, text in enumerate(TEXTS)]
    for options in ({}, {"padding": "max_length", "max_length": 70}, {"pad_to_multiple_of": 16}):
        same(ours.pad(rows, return_tensors="pt", **options), theirs.pad(rows, return_tensors="pt", **options))
        same(ours.pad(rows, **options), theirs.pad(rows, **options))
    ids_only = {"input_ids": [row["input_ids"] for row in rows]}
    same(ours.pad(ids_only, return_tensors="np"), theirs.pad(ids_only, return_tensors="np"))
    same(
        ours.pad(rows[0], padding="max_length", max_length=20), theirs.pad(rows[0], padding="max_length", max_length=20)
    )


@pytest.mark.peers
def test_a_real_tokenizer_equals(minilm: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours, theirs = BertTokenizer.from_pretrained(minilm), transformers.AutoTokenizer.from_pretrained(str(minilm))
    texts = ["Hello, my dog is cute", "Déjà vu " * 400]
    for options in ({"padding": True, "truncation": True}, {"padding": "max_length"}, {"truncation": True}):
        same(ours(texts, **options), theirs(texts, **options))
    assert ours.model_max_length == theirs.model_max_length == 512


@pytest.mark.peers
def test_saved_for_transformers(ours: BertTokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours.save_pretrained(tmp_path)
    theirs = transformers.BertTokenizer.from_pretrained(str(tmp_path))
    same(ours(TEXTS, PAIRS), theirs(TEXTS, PAIRS))


def test_model_inputs_by_name(ours: BertTokenizer) -> None:
    encoding = ours(["hello world", "a"], padding=True, return_tensors="pt")
    assert encoding.input_ids.tolist() == [[2, 26, 27, 3], [2, 5, 3, 0]]
    assert encoding["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert {**encoding}.keys() == {"input_ids", "token_type_ids", "attention_mask"}
    assert encoding.to("cpu") is encoding
    assert encoding.to("meta").input_ids.device.type == "meta"
    with pytest.raises(AttributeError, match="labels"):
        _ = encoding.labels


def test_what_truncation_cut_is_visible(ours: BertTokenizer) -> None:
    assert ours(["a b c d", "a"], truncation=True, max_length=4).num_cut_tokens == [2, 0]


def test_options_of_loading(folder: Path) -> None:
    tokenizer = BertTokenizer.from_pretrained(folder, do_lower_case=False, model_max_length=5)
    assert tokenizer.tokenize("Hello hello") == ["[UNK]", "hello"]
    assert len(tokenizer("a b c d e a b", truncation=True)["input_ids"]) == 5
    with pytest.raises(SettingsError, match="did you mean 'do_lower_case'"):
        BertTokenizer.from_pretrained(folder, do_lowercase=True)
    with pytest.raises(SettingsError, match="padding_side is 'top'"):
        BertTokenizer.from_pretrained(folder, padding_side="top")  # type: ignore[arg-type]


def test_mistakes_are_told(ours: BertTokenizer) -> None:
    with pytest.raises(DataError, match="texts of 3 to 5 tokens make no tensor: set padding=True"):
        ours(["a", "a b c"], return_tensors="np")
    with pytest.raises(SettingsError, match=r"padding is 'longst'; did you mean 'longest'"):
        ours("a", padding="longst")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="return_tensors is 'tf'"):
        ours("a", return_tensors="tf")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a list of texts needs a list of as many pairs"):
        ours(["a", "b"], ["c"])
    with pytest.raises(DataError, match="expected input_ids, found attention_mask"):
        ours.pad({"attention_mask": [1]})
    with pytest.raises(DataError, match="text 0: expected a string, found int"):
        ours(5)  # type: ignore[arg-type]


def test_no_texts(ours: BertTokenizer) -> None:
    assert ours([])["input_ids"] == []
    assert ours([], padding=True, return_tensors="np")["input_ids"].shape == (0,)


def test_arrays_are_of_int64(ours: BertTokenizer) -> None:
    arrays = ours(["a"], return_tensors="np")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("name", ["no/such/folder/here", "/no/such/folder", "./nowhere", "..", "a b"])
def test_paths_that_lead_nowhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError, match=r"no such folder|no tokenizer\.json"):
        BertTokenizer.from_pretrained(name)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("")
    with pytest.raises(FileFormatError, match="a file, expected the folder"):
        BertTokenizer.from_pretrained(tmp_path / "vocab.txt")


def test_a_hub_name_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests run with the hub offline: what is not in its cache is an error that says so.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileFormatError, match=r"nobody/nothing: no such folder, and the Hugging Face hub gave no such model"
    ):
        BertTokenizer.from_pretrained("nobody/nothing")
