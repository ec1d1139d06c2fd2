"""The files that make a folder one of sentence-transformers': what an encoder's tokens become, written and read.

Knows their names for things and ours; neither weights nor tokenizers. Both layouts of its versions are read, the older
is written, which all of them read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from bertsmith.errors import FileFormatError, nearest
from bertsmith.files import read_json
from bertsmith.model.networks import Pooling

MODULES = "modules.json"
_POOLING = "1_Pooling/config.json"
_TRANSFORMER = "sentence_bert_config.json"
_MODEL = "config_sentence_transformers.json"
_POOLINGS: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
_ORDERS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_NO_LIMIT = 10**6  # tokenizers without a length write a number beyond any


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """encoder: the folder with weights and tokenizer. max_length: in tokens, None: as many as there are positions.

    prompt: what stands before every text. lower_case: whether texts are lowered before the tokenizer sees them.
    """

    encoder: Path
    pooling: Pooling
    normalize: bool
    max_length: int | None
    prompt: str
    lower_case: bool


def sentence_files(width: int, pooling: Pooling, *, normalize: bool, max_length: int, prompt: str) -> dict[str, Any]:
    """What stands beside an encoder's files, by name, for sentence-transformers to give the same vectors."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalize else [])]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds)
    ]
    modes = {name: mode == pooling for name, mode in _POOLINGS.items()}
    return {
        MODULES: modules,
        _POOLING: {"word_embedding_dimension": width, **modes},
        _TRANSFORMER: {"max_seq_length": max_length, "do_lower_case": False},
        _MODEL: {
            "prompts": {"default": prompt} if prompt else {},
            "default_prompt_name": "default" if prompt else None,
            "similarity_fn_name": "cosine",
        },
    }


def read_sentence_folder(folder: Path) -> SentenceFolder:
    """What the folder says of its modules: an encoder, a pooling and, perhaps, a normalization.

    Raises `FileFormatError` for any other module, and for settings that would make other vectors than ours.
    """
    places = _module_folders(folder)
    encoder = places["Transformer"]
    transformer = _optional(encoder / _TRANSFORMER)
    usual = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    if any(transformer.get(name, value) != value for name, value in usual.items()):
        raise FileFormatError(f"{encoder / _TRANSFORMER}: expected an encoder that gives token embeddings")
    model = _optional(folder / _MODEL)
    pooling, reads_prompt = _pooling(places["Pooling"] / "config.json")
    prompt = _prompt(model, folder / _MODEL)
    if prompt and not reads_prompt:
        raise FileFormatError(
            f"{places['Pooling'] / 'config.json'}: vectors that leave out the tokens of a prompt are not supported"
        )
    length = transformer.get("max_seq_length")
    if length is None:
        length = _optional(encoder / "tokenizer_config.json").get("model_max_length")
    if length is not None and not (isinstance(length, int | float) and length >= 3):
        raise FileFormatError(f"{encoder / _TRANSFORMER}: max_seq_length is {length!r}, expected 3 or more")
    max_length = None if length is None or length > _NO_LIMIT else int(length)
    lower = transformer.get("do_lower_case") is True
    return SentenceFolder(encoder, pooling, "Normalize" in places, max_length, prompt, lower)


def _module_folders(folder: Path) -> dict[str, Path]:
    """The folder of each module by its kind, in one of the orders that are understood."""
    file = folder / MODULES
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        found = [(str(row["type"]).rpartition(".")[2], str(row["path"])) for row in rows]
    except OSError as error:
        raise FileFormatError(f"{file}: {error.strerror or error}") from None
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise FileFormatError(f"{file}: expected a list of modules with type and path: {error!r}") from None
    kinds = [kind for kind, _ in found]
    if kinds not in _ORDERS:
        raise FileFormatError(
            f"{file}: its modules are {', '.join(kinds) or 'none'}; only Transformer, Pooling and, last, Normalize are "
            "read: vectors of any other kind of module would not be the same; use it with sentence-transformers"
        )
    for _, path in found:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise FileFormatError(f"{file}: the path {path!r} leads out of the folder")
    return {kind: folder / path for kind, path in found}


def _pooling(file: Path) -> tuple[Pooling, bool]:
    """The one pooling, and whether it takes a prompt's tokens too."""
    values = read_json(file)
    modes = values.get("pooling_mode")
    if modes is None:
        modes = [_POOLINGS.get(name, name) for name, on in values.items() if name.startswith("pooling_mode_") and on]
    modes = [modes] if isinstance(modes, str) else list(modes) or ["mean"]
    known = list(_POOLINGS.values())
    if len(modes) != 1 or modes[0] not in known:
        raise FileFormatError(f"{file}: pooling {' with '.join(map(str, modes))}; {nearest(str(modes[0]), known)}")
    return cast(Pooling, modes[0]), values.get("include_prompt", True) is not False


def _prompt(model: Mapping[str, Any], file: Path) -> str:
    """The text that the model puts before every other where the caller says nothing."""
    name, prompts = model.get("default_prompt_name"), model.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise FileFormatError(f"{file}: default_prompt_name is {name!r}, which is no text among its prompts")
    prompt: str = prompts[name]
    return prompt


def _optional(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
