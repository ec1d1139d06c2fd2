"""Folders in the Hugging Face layout: written, read, equal to what `transformers` makes of them, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertsmith.errors import FileFormatError
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.vocabulary import AddedToken, TokenizerSpec

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = [*SPECIAL, "the", "The", "cat", "caf", "##e", "##é", "##s", "中", "国", "!", "[", "]", "mask", "##x"]
TEXT = "The cats CAFÉ café 中国! [MASK] [mask] x"


def write_vocabulary_folder(folder: Path, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


CONFIGS: list[dict[str, Any] | None] = [
    None,
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False, "model_max_length": 512},
    {
        "tokenizer_class": "DistilBertTokenizer",
        "unk_token": {"__type": "AddedToken", "content": "[UNK]"},
        "model_max_length": 1e30,
    },
]


@pytest.mark.peers
@pytest.mark.parametrize("config", CONFIGS)
def test_a_vocabulary_folder_loads_as_in_transformers(tmp_path: Path, config: dict[str, Any] | None) -> None:
    transformers = pytest.importorskip("transformers")
    folder = write_vocabulary_folder(tmp_path, config)
    ours, theirs = Tokenizer.load(folder), transformers.BertTokenizer.from_pretrained(str(folder))
    assert ours.encode(TEXT).input_ids.tolist() == theirs(TEXT)["input_ids"]


@pytest.mark.peers
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
@pytest.mark.parametrize("handle_chinese_chars", [True, False])
def test_folders_go_both_ways(
    tmp_path: Path, lowercase: bool, strip_accents: bool | None, handle_chinese_chars: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    ours = Tokenizer.from_vocab(
        VOCAB, lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=handle_chinese_chars
    )
    ours.save(tmp_path / "ours")
    (tmp_path / "ours/config.json").write_text('{"model_type": "bert"}')
    expected = ours.encode(TEXT, TEXT)
    for loader in (transformers.AutoTokenizer, transformers.BertTokenizer, transformers.PreTrainedTokenizerFast):
        theirs = loader.from_pretrained(str(tmp_path / "ours"))
        encoded = theirs(TEXT, TEXT, return_offsets_mapping=True, return_token_type_ids=True)
        assert encoded["input_ids"] == expected.input_ids.tolist()
        assert encoded["token_type_ids"] == expected.token_type_ids.tolist()
        assert [list(span) for span in encoded["offset_mapping"]] == expected.offsets.tolist()
        theirs.save_pretrained(tmp_path / "theirs")
        assert Tokenizer.load(tmp_path / "theirs").fingerprint == ours.fingerprint


def test_saved_and_loaded(tmp_path: Path) -> None:
    spec = TokenizerSpec(
        vocabulary=tuple(VOCAB),
        lowercase=False,
        added_tokens=(*(AddedToken(token) for token in SPECIAL), AddedToken("<ent>", special=False, normalized=True)),
        model_max_length=128,
    )
    Tokenizer(spec).save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.spec == spec
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]
    # An added token is found in the midst of a word, and numbered on from the vocabulary's end.
    assert loaded.encode("cat<ent>cat").input_ids.tolist() == [2, 7, len(VOCAB), 7, 3]
    assert loaded.vocab[len(VOCAB)] == "<ent>"


@pytest.mark.peers
def test_added_tokens_of_older_folders(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for name, config in (("decoder", {"added_tokens_decoder": {}}), ("file", {})):
        folder = tmp_path / name
        if name == "decoder":
            entry = {"content": "<ent>", "lstrip": True, "rstrip": False, "normalized": False, "special": True}
            special = {str(i): entry | {"content": token, "lstrip": False} for i, token in enumerate(SPECIAL)}
            config = {"added_tokens_decoder": special | {str(len(VOCAB)): entry}}
        write_vocabulary_folder(folder, config)
        if name == "file":
            (folder / "added_tokens.json").write_text(json.dumps({"<ent>": len(VOCAB)}))
        theirs = transformers.BertTokenizer.from_pretrained(str(folder))
        text = "cat <ent> the<ent>the"
        assert Tokenizer.load(folder).encode(text).input_ids.tolist() == theirs(text)["input_ids"]


@pytest.mark.peers
def test_a_real_folder(minilm: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours, theirs = Tokenizer.load(minilm, embedding_size=30522), transformers.AutoTokenizer.from_pretrained(str(minilm))
    text = "Déjà vu: unaffable 日本語 [MASK]\tno\xa0break\u200b."
    assert ours.encode(text).input_ids.tolist() == theirs(text)["input_ids"]
    assert ours.spec.model_max_length == 512


def test_line_ends_of_other_systems_and_no_final_one(tmp_path: Path) -> None:
    write_vocabulary_folder(tmp_path)
    plain = Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(VOCAB).encode())
    assert Tokenizer.load(tmp_path).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n".join(VOCAB[:4]).encode(), r"no \[MASK\] among the 4 tokens"),
        ("\n".join([*VOCAB, "cat"]).encode(), "token 'cat' stands at id 7 and at id 19"),
        ("\n".join(VOCAB).encode() + b"\n\n", "line 20, the last, is blank"),
        (b"[PAD]\n[UNK]\n\xff\n", "line 3: not valid UTF-8"),
        (b"\xef\xbb\xbf[PAD]\n", "byte order mark"),
    ],
)
def test_vocabulary_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"auto_map": {"AutoTokenizer": "evil.py"}}, "'auto_map' asks to run code"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "'tokenizer_class' is 'BertJapaneseTokenizer'"),
        ({"do_lower_case": "no"}, "'do_lower_case' is 'no', expected true or false"),
        ({"mask_token": "<mask>"}, r"'mask_token' is '<mask>', expected '\[MASK\]'"),
        ({"model_max_length": 0}, "'model_max_length' is 0"),
        ({"added_tokens_decoder": {"99": {"content": "x"}}}, "claims id 99, which must follow 18 without a gap"),
        ({"added_tokens_decoder": []}, "expected an object that maps ids"),
    ],
)
def test_configs_that_are_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    write_vocabulary_folder(tmp_path, config)
    with pytest.raises(FileFormatError, match=message):
        Tokenizer.load(tmp_path)


def set_in(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in("normalizer", "type", value="NFKC"), "normalizer is of type 'NFKC', BERT's is BertNormalizer"),
        (set_in("normalizer", value=None), "normalizer is of type None"),
        (set_in("pre_tokenizer", "type", value="Whitespace"), "pre_tokenizer is of type 'Whitespace'"),
        (set_in("model", "type", value="BPE"), "model is of type 'BPE'"),
        (set_in("model", value=[]), r"'model' is \[\], expected an object"),
        (set_in("decoder", "type", value="Metaspace"), "decoder is of type 'Metaspace'"),
        (set_in("post_processor", "single", value=[]), r"post_processor\.single is ''"),
        (set_in("model", "continuing_subword_prefix", value="@@"), r"model\.continuing_subword_prefix is '@@'"),
        (set_in("normalizer", "clean_text", value=False), "clean_text is off"),
        (set_in("model", "vocab", value=None), "expected an object that maps each token to its id"),
        (set_in("model", "vocab", "the", value=7), r"id 7 is given twice|id 5 has no token"),
        (set_in("model", "vocab", "##x", value=40), "id 18 has no token, the next id is 40"),
        (set_in("model", "vocab", "the", value="5"), "expected an object that maps each token to its id"),
        (set_in("model", "vocab", "the", value=-1), "ids must run from 0"),
        (set_in("added_tokens", value={"a": 1}), "added_tokens: expected a list"),
        (set_in("added_tokens", value=[{"id": 4, "content": "the"}]), r"claims id 4, which is '\[MASK\]'"),
        (set_in("added_tokens", value=[{"id": 0, "content": ""}]), "non-empty string 'content'"),
        (set_in("added_tokens", value=[{"id": "0", "content": "x"}]), "expected an id of 0 or more"),
        (set_in("added_tokens", value=[{"id": 19, "content": "x", "special": 1}]), "special must be true or false"),
    ],
)
def test_tokenizer_files_that_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    Tokenizer.from_vocab(VOCAB).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FileFormatError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"model": ' * 100_000, b"\xff", b"{}"])
def test_tokenizer_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_no_tokenizer_here(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"no tokenizer.json, no vocab.txt"):
        Tokenizer.load(tmp_path)


def test_the_config_decides_normalization_and_the_tokenizer_file_where_it_is_silent(tmp_path: Path) -> None:
    Tokenizer.from_vocab(VOCAB, lowercase=False).save(tmp_path)
    assert not Tokenizer.load(tmp_path).lowercase
    (tmp_path / "tokenizer_config.json").unlink()
    assert not Tokenizer.load(tmp_path).lowercase
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert Tokenizer.load(tmp_path).lowercase


def test_the_size_must_be_the_embeddings(tmp_path: Path) -> None:
    Tokenizer.from_vocab(VOCAB).save(tmp_path)
    for rows in (len(VOCAB), len(VOCAB) + 8):  # embeddings are often padded to a multiple of 8 or 64
        assert Tokenizer.load(tmp_path, embedding_size=rows).vocab_size == len(VOCAB)
    for rows in (len(VOCAB) - 1, len(VOCAB) + 2000):
        with pytest.raises(FileFormatError, match=f"19 tokens, but the model's embedding has {rows} rows"):
            Tokenizer.load(tmp_path, embedding_size=rows)
