"""Where a model's files are: a folder on this machine, or a name on the Hugging Face hub. Reads none of them.

The only place that may open a connection.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from bertsmith.errors import FileFormatError

# Weights, settings and vocabularies; nothing that could hold code.
FETCHED: Final = ("*.safetensors", "*.json", "*.txt")
HUB_NAME: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def resolve_folder(name_or_folder: str | Path) -> Path:
    """A local folder, or the prefix of an original Google checkpoint, as it is; a name on the hub is fetched, once.

    This asks the network, and is only called when a user names such a model. Raises `FileFormatError`.
    """
    folder = Path(name_or_folder)
    if folder.is_dir() or folder.with_name(folder.name + ".index").is_file():
        return folder
    name = str(name_or_folder)
    if folder.exists():
        raise FileFormatError(f"{name}: a file, expected the folder that holds the model's files")
    if isinstance(name_or_folder, Path) or not HUB_NAME.fullmatch(name):
        raise FileFormatError(f"{name}: no such folder")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED)))
    except (OSError, ValueError) as error:  # the hub's own errors derive from these
        reason = str(error).strip().partition("\n")[0]
        raise FileFormatError(
            f"{name}: no such folder, and the Hugging Face hub gave no such model ({reason}); name a folder that holds "
            "config.json, model.safetensors and tokenizer files, or check the name and the connection"
        ) from None
