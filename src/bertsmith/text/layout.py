"""The Hugging Face layout of a tokenizer: `tokenizer.json`, `vocab.txt`, `tokenizer_config.json`, read and written.

This is the border: every name of the foreign format stands in this file, and nothing that it does not name gets past.
Where files disagree, `tokenizer.json` has the tokens and `tokenizer_config.json` the normalization, as in
`transformers`; what the config leaves open is taken from `tokenizer.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from bertsmith.errors import FileFormatError
from bertsmith.files import atomic_folder, read_json, write_json
from bertsmith.text.vocabulary import (
    BERT_ADDED_TOKENS,
    CLS,
    CONTINUATION_PREFIX,
    MASK,
    MAX_WORD_CHARACTERS,
    PAD,
    SEP,
    UNK,
    AddedToken,
    TokenizerSpec,
)

TOKENIZER_FILE: Final = "tokenizer.json"
VOCABULARY_FILE: Final = "vocab.txt"
CONFIG_FILE: Final = "tokenizer_config.json"
ADDED_TOKENS_FILE: Final = "added_tokens.json"

SPECIAL_TOKEN_FIELDS: Final = {
    "unk_token": UNK,
    "sep_token": SEP,
    "pad_token": PAD,
    "cls_token": CLS,
    "mask_token": MASK,
}
WORDPIECE_CLASSES: Final = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer")

COMPONENT_TYPES: Final = {
    "normalizer": ("BertNormalizer",),
    "pre_tokenizer": ("BertPreTokenizer",),
    "post_processor": ("TemplateProcessing", "BertProcessing", None),
    "decoder": ("WordPiece", None),
    "model": ("WordPiece",),
}
MODEL_FIELDS: Final = {
    "unk_token": UNK,
    "continuing_subword_prefix": CONTINUATION_PREFIX,
    "max_input_chars_per_word": MAX_WORD_CHARACTERS,
}
NO_MODEL_MAX_LENGTH: Final = 10**20  # larger means "no limit": transformers writes 10**30


def read_tokenizer_folder(folder: Path) -> TokenizerSpec:
    """The tokenizer in `folder`; `FileFormatError` names the file, the rule that it breaks and the way out."""
    config_path, tokenizer_path = folder / CONFIG_FILE, folder / TOKENIZER_FILE
    config = _read_config(config_path) if config_path.is_file() else {}
    if tokenizer_path.is_file():
        content = read_json(tokenizer_path)
        _check_components(content, tokenizer_path)
        tokens, added = _tokens_of_json(content, tokenizer_path)
        normalizer = content["normalizer"]
        where = tokenizer_path
    else:
        where = folder / VOCABULARY_FILE
        if not where.is_file():
            raise FileFormatError(f"{folder}: no {TOKENIZER_FILE}, no {VOCABULARY_FILE}; a tokenizer needs one of them")
        _check_class(config, config_path)
        tokens = read_vocabulary(where)
        added = _added_tokens(tokens, _added_beside_vocabulary(folder, config), where)
        normalizer = {}
    return TokenizerSpec(
        vocabulary=tuple(tokens),
        lowercase=_flag(config, "do_lower_case", config_path, normalizer.get("lowercase", True)),
        strip_accents=_flag(config, "strip_accents", config_path, normalizer.get("strip_accents"), optional=True),
        handle_chinese_chars=_flag(
            config, "tokenize_chinese_chars", config_path, normalizer.get("handle_chinese_chars", True)
        ),
        added_tokens=added,
        model_max_length=_model_max_length(config, config_path),
    )


def write_tokenizer_folder(folder: Path, spec: TokenizerSpec, tokenizer_json: str) -> None:
    """Write the three files; `tokenizer_json` is the Rust core's own serialization of the same tokenizer."""
    config: dict[str, Any] = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": spec.lowercase,
        "strip_accents": spec.strip_accents,
        "tokenize_chinese_chars": spec.handle_chinese_chars,
        **SPECIAL_TOKEN_FIELDS,
    }
    if spec.model_max_length is not None:
        config["model_max_length"] = spec.model_max_length
    with atomic_folder(folder) as temporary:
        (temporary / TOKENIZER_FILE).write_text(tokenizer_json + "\n", encoding="utf-8")
        write_json(temporary / CONFIG_FILE, config)
        vocabulary = "".join(f"{token}\n" for token in spec.vocabulary)
        (temporary / VOCABULARY_FILE).write_text(vocabulary, encoding="utf-8", newline="\n")


def read_vocabulary(path: Path) -> list[str]:
    """The tokens of a `vocab.txt`, one a line, in order of their ids."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise FileFormatError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FileFormatError(f"{path}: line {line}: not valid UTF-8 ({error.reason}); save it as UTF-8") from None
    if text.startswith("\ufeff"):
        raise FileFormatError(f"{path}: starts with a byte order mark; save the file as UTF-8 without one")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if not lines[-1]:
        raise FileFormatError(f"{path}: line {len(lines)}, the last, is blank and would count as a token; remove it")
    return lines


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path)
    if "auto_map" in config:
        raise FileFormatError(
            f"{path}: field 'auto_map' asks to run code from the folder, which is never done; if the tokenizer is a "
            "plain BERT WordPiece, remove the field"
        )
    for field, expected in SPECIAL_TOKEN_FIELDS.items():
        token = config.get(field)
        if isinstance(token, Mapping):
            token = token.get("content")
        if token not in (None, expected):
            raise FileFormatError(
                f"{path}: field {field!r} is {token!r}, expected {expected!r}; tokenizers with other special tokens "
                "than BERT's are not supported"
            )
    return config


def _check_class(config: Mapping[str, Any], path: Path) -> None:
    name = config.get("tokenizer_class")
    if name is not None and str(name).removesuffix("Fast") not in WORDPIECE_CLASSES:
        raise FileFormatError(
            f"{path}: field 'tokenizer_class' is {name!r}; with {VOCABULARY_FILE} alone only "
            f"{', '.join(WORDPIECE_CLASSES)} can be read: save the tokenizer with its {TOKENIZER_FILE}"
        )


def _check_components(content: Mapping[str, Any], path: Path) -> None:
    for part, known in COMPONENT_TYPES.items():
        component = content.get(part)
        if component is not None and not isinstance(component, Mapping):
            raise FileFormatError(f"{path}: field {part!r} is {component!r:.80}, expected an object")
        # Files of the first versions name no type of their model.
        kind = None if component is None else component.get("type", "WordPiece" if part == "model" else None)
        if kind not in known:
            names = " or ".join(str(name) for name in known if name)
            raise FileFormatError(
                f"{path}: {part} is of type {kind!r}, BERT's is {names}; the tokenizer is of another family than BERT"
            )
    for field, expected in MODEL_FIELDS.items():
        if content["model"].get(field, expected) != expected:
            raise FileFormatError(f"{path}: model.{field} is {content['model'][field]!r}, BERT's is {expected!r}")
    if content["normalizer"].get("clean_text", True) is not True:
        raise FileFormatError(f"{path}: normalizer.clean_text is off, BERT's is on")
    _check_template(content.get("post_processor"), path)


def _check_template(processor: Mapping[str, Any] | None, path: Path) -> None:
    if processor is None or processor["type"] != "TemplateProcessing":
        return
    for field, expected in (("single", f"{CLS}:0 A:0 {SEP}:0"), ("pair", f"{CLS}:0 A:0 {SEP}:0 B:1 {SEP}:1")):
        try:
            found = " ".join(f"{part['id']}:{part['type_id']}" for piece in processor[field] for part in piece.values())
        except (KeyError, TypeError, AttributeError):
            found = "not readable"
        if found != expected:
            raise FileFormatError(f"{path}: post_processor.{field} is {found!r}, BERT's is {expected!r}")


def _tokens_of_json(content: Mapping[str, Any], path: Path) -> tuple[list[str], tuple[AddedToken, ...]]:
    vocabulary = content["model"].get("vocab")
    if not isinstance(vocabulary, Mapping) or not all(type(number) is int for number in vocabulary.values()):
        raise FileFormatError(f"{path}: model.vocab: expected an object that maps each token to its id")
    added = content.get("added_tokens") or []
    if not isinstance(added, list):
        raise FileFormatError(f"{path}: added_tokens: expected a list")
    tokens = _by_id(vocabulary, path)
    return tokens, _added_tokens(tokens, [(_id_of(entry, path), entry) for entry in added], path)


def _by_id(vocabulary: Mapping[str, int], path: Path) -> list[str]:
    """The tokens in order of their ids, which must be 0, 1, 2, ... with none missing and none twice."""
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    for expected, token in enumerate(tokens):
        found = vocabulary[token]
        if found != expected:
            rule = "is given twice" if found < expected else f"has no token, the next id is {found}"
            number = found if found < expected else expected
            raise FileFormatError(
                f"{path}: model.vocab: id {number} {rule} (at {token!r}); ids must run from 0 without gaps, as the "
                "rows of the embedding do: restore the original file"
            )
    return tokens


def _added_beside_vocabulary(folder: Path, config: Mapping[str, Any]) -> list[tuple[int, Any]]:
    """Added tokens of a folder without `tokenizer.json`: in its config, or in a file of their own in older folders."""
    path = folder / CONFIG_FILE
    decoder = config.get("added_tokens_decoder")
    if decoder is not None:
        if not isinstance(decoder, Mapping) or not all(str(number).isdecimal() for number in decoder):
            raise FileFormatError(f"{path}: field 'added_tokens_decoder': expected an object that maps ids to tokens")
        return [(int(number), entry) for number, entry in decoder.items()]
    path = folder / ADDED_TOKENS_FILE
    if not path.is_file():
        return []
    entries = [
        {"content": token, "id": number, "special": False, "normalized": True}
        for token, number in read_json(path).items()
    ]
    return [(_id_of(entry, path), entry) for entry in entries]


def _added_tokens(tokens: Sequence[str], entries: Sequence[tuple[int, Any]], path: Path) -> tuple[AddedToken, ...]:
    """The entries in order of their ids, and the special five if they are not among them.

    An id must be the token's own in the vocabulary, or follow on from its end.
    """
    added: dict[str, AddedToken] = {}
    following = len(tokens)
    for number, entry in sorted(entries, key=lambda pair: pair[0]):
        token = _added_token(entry, path)
        if token.content in added:
            raise FileFormatError(f"{path}: added token {token.content!r} is given twice")
        if number == following:
            following += 1
        elif number >= len(tokens) or tokens[number] != token.content:
            held = f"is {tokens[number]!r}" if number < len(tokens) else f"must follow {following - 1} without a gap"
            raise FileFormatError(f"{path}: added token {token.content!r} claims id {number}, which {held}")
        added[token.content] = token
    for token in BERT_ADDED_TOKENS:
        if token.content in tokens:
            added.setdefault(token.content, token)
    return tuple(added.values())


def _added_token(entry: Any, path: Path) -> AddedToken:
    flags = [field.name for field in fields(AddedToken) if field.name != "content"]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("content"), str) or not entry["content"]:
        raise FileFormatError(
            f"{path}: added token {entry!r:.80}: expected an object with a non-empty string 'content'"
        )
    for flag in flags:
        if type(entry.get(flag, False)) is not bool:
            raise FileFormatError(f"{path}: added token {entry['content']!r}: {flag} must be true or false")
    return AddedToken(entry["content"], **{flag: entry.get(flag, False) for flag in flags})


def _id_of(entry: Any, path: Path) -> int:
    number = entry.get("id") if isinstance(entry, Mapping) else None
    if type(number) is not int or number < 0:
        raise FileFormatError(f"{path}: added token {entry!r:.80}: expected an id of 0 or more")
    return number


def _flag(config: Mapping[str, Any], field: str, path: Path, default: Any, optional: bool = False) -> Any:
    value = config.get(field, default)
    if type(value) is bool or (optional and value is None):
        return value
    raise FileFormatError(f"{path}: field {field!r} is {value!r}, expected true or false")


def _model_max_length(config: Mapping[str, Any], path: Path) -> int | None:
    value = config.get("model_max_length")
    if value is None:
        return None
    if type(value) not in (int, float) or not value >= 1:
        raise FileFormatError(f"{path}: field 'model_max_length' is {value!r}, expected a number of tokens")
    return int(value) if value < NO_MODEL_MAX_LENGTH else None
