"""Where a model is: a folder as it is, or a name on the Hugging Face hub. The only place that may open a connection.

Knows nothing of what the files mean. Only weights in safetensors, JSON and text are fetched.
"""

from __future__ import annotations

from pathlib import Path

from bertsmith.errors import FileFormatError

FETCHED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt")


def resolve_folder(name_or_folder: str | Path) -> Path:
    """The local folder of a model. A hub name is fetched into the hub's own cache, once; asking by name is the consent.

    Raises `FileFormatError` for what is neither, and for a name that cannot be fetched now.
    """
    folder = Path(name_or_folder)
    if folder.exists() or folder.with_name(folder.name + ".index").exists():
        return folder
    name = str(name_or_folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise FileFormatError(f"{name}: no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED)))
    except HFValidationError:
        raise FileFormatError(f"{name}: no such folder, and no name of a model on the hub") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FileFormatError(
            f"{name}: no such folder here, and it cannot be fetched from the Hugging Face hub ({reason}); "
            "give a folder with config.json and model.safetensors, or connect and try again"
        ) from None
