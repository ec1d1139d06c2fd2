"""A collection on a Qdrant server with the model that it was made with: what index and search do there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.passages import PassageSettings

if TYPE_CHECKING:
    from bertsmith.search.qdrant import QdrantIndex


def open_collection(place: str, name: str, model: Path | None, device: str) -> QdrantIndex:
    """One that is there. model: None for the folder that it remembers. Raises `FileFormatError` for none."""
    return _opened(place, name, model, device, None, is_made=False)


def make_collection(
    place: str, name: str, model: Path | None, device: str, passages: PassageSettings | None
) -> QdrantIndex:
    """One that is there or not yet, which needs a model. passages: None for those of the one that is there."""
    return _opened(place, name, model, device, passages, is_made=True)


def _opened(
    place: str, name: str, model: Path | None, device: str, passages: PassageSettings | None, *, is_made: bool
) -> QdrantIndex:
    try:
        from bertsmith.search.qdrant import QdrantIndex, connect, facts_of
    except ModuleNotFoundError:
        raise SettingsError("Qdrant needs the package `qdrant-client`: pip install 'bertsmith[qdrant]'") from None
    client = connect(place)
    kept = facts_of(client, name)
    if kept is None and not is_made:
        raise FileFormatError(f"{place}: no collection {name!r} there; make it with bertsmith index")
    remembered = (kept or {}).get("encoder_folder")
    if model is None and remembered is None:
        raise SettingsError(f"collection {name!r}: name the model for embedding with --model")
    folder = model or Path(remembered or "")
    if not folder.is_dir():
        raise SettingsError(f"collection {name!r}: its model is not at {folder} any more; name it with --model")
    return QdrantIndex(client, name, TextEncoder.load(folder, device=device), passages, folder)
