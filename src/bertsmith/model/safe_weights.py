"""safetensors files read with suspicion and written with care. Knows nothing of what the tensors mean.

Pickles are never opened: loading one can run any code. Format: a header's length (8 bytes, little-endian), the header
(JSON), the values; see the README of huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bertsmith.errors import FileFormatError
from bertsmith.files import atomic_file, read_json

MAX_HEADER_BYTES = 16 << 20  # BERT-large needs 0.05 MB
MAX_RANK = 16

WEIGHTS = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")

TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's names; a tensor of another type is neither read nor written."""
_ITEM_BYTES = {name: dtype.itemsize for dtype, name in TYPES.items()}
ALIGNMENT_BYTES = 8
"""Of the place where the tensors begin, as the format asks for."""


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """What a file's header says of one tensor; `start` and `end` are bytes from the end of the header."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class SafeWeights(Mapping[str, Tensor]):
    """The tensors by name of one file, or of the shards of one index. Headers are checked at once, values when read."""

    def __init__(self, files: list[Path]):
        self.headers: dict[str, TensorHeader] = {}
        for file in files:
            for name, header in read_header(file).items():
                if name in self.headers:
                    raise FileFormatError(
                        f"{file}: tensor {name!r} stands in {self.headers[name].file.name} too: keep one of them"
                    )
                self.headers[name] = header

    @classmethod
    def of_folder(cls, folder: Path) -> SafeWeights:
        """`model.safetensors`, or the shards that `model.safetensors.index.json` lists."""
        if (folder / WEIGHTS).is_file():
            return cls([folder / WEIGHTS])
        if (folder / SHARD_INDEX).is_file():
            return _sharded(folder)
        refuse_pickles(folder)
        raise FileFormatError(f"{folder}: no weights here: expected {WEIGHTS} or {SHARD_INDEX}")

    def __len__(self) -> int:
        return len(self.headers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.headers)

    def __getitem__(self, name: str) -> Tensor:
        """The tensor, whatever its values."""
        file = self.headers[name].file
        try:
            with safe_open(file, framework="pt") as opened:
                tensor: Tensor = opened.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise FileFormatError(f"{file}: tensor {name!r}: {error}: copy or download the file again") from None
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self.headers[name].shape


def read_header(path: Path) -> dict[str, TensorHeader]:
    """The checked header of a file: known types, sizes that match the shapes, values that fill the file exactly."""
    way_out = "copy or download the file again"
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise FileFormatError(
                f"{path}: the header claims {length} bytes, the file has {size} and a header at most "
                f"{MAX_HEADER_BYTES}: {way_out}"
            )
        raw = file.read(length)
    try:
        table = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: the header is not valid JSON: {error}: {way_out}") from None
    if not isinstance(table, dict):
        raise FileFormatError(f"{path}: the header is not a JSON object: {way_out}")
    table.pop("__metadata__", None)
    headers = {name: _tensor_header(path, name, entry) for name, entry in table.items()}
    end = 0
    for name, header in sorted(headers.items(), key=lambda item: (item[1].start, item[1].end)):
        if header.start != end:
            raise FileFormatError(f"{path}: tensor {name!r} starts at byte {header.start} instead of {end}: {way_out}")
        end = header.end
    if end != size - 8 - length:
        raise FileFormatError(
            f"{path}: {size - 8 - length} bytes of values where the header speaks of {end}: {way_out}"
        )
    return headers


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors`, each a copy of its own, so that the file appears whole or not at all, with normal file modes."""
    with atomic_file(path) as temporary:
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        try:
            save_file(copies, temporary, {"format": "pt", **(metadata or {})})  # transformers refuses others
        except SafetensorError as error:  # of a full disk too, with the system's number for it in its text
            code = int((re.search(r"os error (\d+)", str(error)) or ["", "0"])[1])
            raise OSError(code, os.strerror(code) if code else str(error), str(path)) from None


def safetensors_parts(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    """The bytes of a safetensors file of contiguous tensors on the CPU, uncopied: its header, then each of them."""
    # Wide types first, so that each tensor begins at a multiple of its numbers' size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    for _, tensor in ordered:
        if tensor.numel():
            yield tensor.reshape(-1).view(torch.uint8).numpy().data


def refuse_pickles(path: Path) -> None:
    """Raise if `path` is a pickle or another format that can run code, or a folder whose only weights are such."""
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    for file in files:
        if file.suffix.lower() in PICKLE_SUFFIXES and file.name != "training_args.bin":
            raise FileFormatError(
                f"{file}: weights in a format that can run code when it is read are refused. In an environment that "
                f"you can afford to lose, load the model with the program that wrote it and save it as {WEIGHTS} "
                "(transformers: model.save_pretrained(folder))"
            )


def _sharded(folder: Path) -> SafeWeights:
    index = folder / SHARD_INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise FileFormatError(f"{index}: expected a 'weight_map' of tensor names to file names")
    for name in sorted(set(places.values())):
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise FileFormatError(f"{index}: {name!r} is not the name of a .safetensors file in the same folder")
        if not (folder / name).is_file():
            raise FileFormatError(f"{index}: the file {name!r} is missing: copy or download it too")
    weights = SafeWeights([folder / name for name in sorted(set(places.values()))])
    for name in {*places, *weights}:
        found = weights.headers[name].file.name if name in weights else None
        if places.get(name) != found:
            raise FileFormatError(
                f"{index}: tensor {name!r} should stand in {places.get(name)}, it stands in {found}: "
                "copy or download all files again"
            )
    return weights


def _tensor_header(path: Path, name: str, entry: Any) -> TensorHeader:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)]} if (
            dtype in _ITEM_BYTES
            and len(shape) <= MAX_RANK
            and all(type(size) is int and 0 <= size < 1 << 48 for size in shape)
            and 0 <= start <= end
            and end - start == math.prod(shape) * _ITEM_BYTES[dtype]
        ):
            return TensorHeader(path, dtype, tuple(shape), start, end)
    raise FileFormatError(
        f"{path}: tensor {name!r}: {json.dumps(entry)[:200]} is not a known type with a shape that fits its bytes "
        f"(types: {', '.join(_ITEM_BYTES)})"
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name!r} stands there twice")
    return table
