"""Safe weights: what is written is read back; damaged, unsafe and non-finite files are refused by name."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from bertsmith.errors import FileFormatError
from bertsmith.model.safe_weights import (
    TYPES,
    SafeWeights,
    read_header,
    refuse_pickles,
    safetensors_parts,
    write_weights,
)

TENSORS = {
    "a.weight": torch.arange(6.0).view(2, 3),
    "a.bias": torch.zeros(3, dtype=torch.float16),
    "step": torch.tensor(3),
}


def file_of(header: Any, values: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + values


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_written_weights_are_read_back(tmp_path: Path) -> None:
    write_weights(tmp_path / "model.safetensors", TENSORS)
    read = SafeWeights.of_folder(tmp_path)
    assert set(read) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert read.shape(name) == tuple(tensor.shape)
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype


def test_written_files_have_normal_modes_and_name_their_framework(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, TENSORS)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert b'"format":"pt"' in path.read_bytes()


def test_views_of_one_storage_are_written_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    write_weights(tmp_path / "model.safetensors", {"all": base, "row": base[1], "turned": base.t()})
    read = SafeWeights.of_folder(tmp_path)
    assert torch.equal(read["row"], base[1])
    assert torch.equal(read["turned"], base.t())


def test_parts_of_a_file_are_what_safetensors_reads() -> None:
    tensors = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in TYPES}
    tensors |= {"empty": torch.empty(0, 4), "one": torch.tensor(2.5), "名": torch.ones(3)}
    found = load(b"".join(safetensors_parts(tensors)))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_weights(path, TENSORS)
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(FileFormatError, match=r"model\.safetensors"):
            SafeWeights.of_folder(tmp_path)


BAD_FILES = {
    "the header claims 9223372036854775807 bytes": (2**63 - 1).to_bytes(8, "little") + b"{}",
    "not valid JSON": file_of(b"{'a'"),
    "'a' stands there twice": file_of(b'{"a": 1, "a": 2}'),
    "not a JSON object": file_of([1]),
    "tensor 'a'.* is not a known type": file_of({"a": entry([1], 0, 4, "OBJECT")}, bytes(4)),
    r"tensor 'a'.*\[3\].*fits its bytes": file_of({"a": entry([3], 0, 4)}, bytes(4)),
    r"tensor 'a'.*\[-1\]": file_of({"a": entry([-1], 0, 4)}, bytes(4)),
    "tensor 'b' starts at byte 2 instead of 4": file_of({"a": entry([1], 0, 4), "b": entry([1], 2, 6)}, bytes(6)),
    "tensor 'a' starts at byte 4 instead of 0": file_of({"a": entry([1], 4, 8)}, bytes(8)),
    "5 bytes of values where the header speaks of 4": file_of({"a": entry([1], 0, 4)}, bytes(5)),
    r"tensor 'a': 7 is not": file_of({"a": 7}),
}


@pytest.mark.parametrize("problem", BAD_FILES)
def test_bad_headers_are_refused(tmp_path: Path, problem: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(BAD_FILES[problem])
    with pytest.raises(FileFormatError, match=rf"model\.safetensors.*{problem}"):
        SafeWeights.of_folder(tmp_path)


def test_deeply_nested_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_of(b"[" * 200_000))
    with pytest.raises(FileFormatError, match="not valid JSON"):
        SafeWeights.of_folder(tmp_path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    try:
        read_header(path)
    except FileFormatError as error:
        assert str(path) in str(error)  # noqa: PT017


def write_shards(folder: Path, places: dict[str, str]) -> None:
    for file in set(places.values()):
        inside = {name: TENSORS[name] for name, place in places.items() if place == file}
        write_weights(folder / file, inside)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


PLACES = {"a.weight": "model-1.safetensors", "a.bias": "model-1.safetensors", "step": "model-2.safetensors"}


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    write_shards(tmp_path, PLACES)
    read = SafeWeights.of_folder(tmp_path)
    assert {name: header.file.name for name, header in read.headers.items()} == PLACES
    assert torch.equal(read["step"], TENSORS["step"])


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.safetensors", "a\\x.safetensors", "pytorch_model.bin", ".."]
)
def test_shard_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(FileFormatError, match=r"is not the name of a \.safetensors file in the same folder"):
        SafeWeights.of_folder(tmp_path)


def test_shards_unlike_their_index_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path, PLACES)
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": PLACES | {"step": "model-1.safetensors", "a.bias": "model-2.safetensors"}})
    )
    with pytest.raises(FileFormatError, match=r"should stand in .* it stands in"):
        SafeWeights.of_folder(tmp_path)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(FileFormatError, match=r"'model-2\.safetensors' is missing"):
        SafeWeights.of_folder(tmp_path)


def test_one_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("1.safetensors", "2.safetensors"):
        write_weights(tmp_path / name, {"a": torch.zeros(1)})
    with pytest.raises(FileFormatError, match=r"stands in 1\.safetensors too"):
        SafeWeights([tmp_path / "1.safetensors", tmp_path / "2.safetensors"])


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.PTH", "weights.pkl", "last.ckpt"])
def test_pickles_are_refused_and_not_opened(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileFormatError, match=rf"{name}.*can run code.*save_pretrained"):
        SafeWeights.of_folder(folder)
    with pytest.raises(FileFormatError, match="can run code"):
        refuse_pickles(folder / name)
    assert not (tmp_path / "exploded").exists()


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"no weights here: expected model\.safetensors"):
        SafeWeights.of_folder(tmp_path)
