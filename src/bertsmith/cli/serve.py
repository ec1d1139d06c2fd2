"""`bertsmith serve`: saved models over HTTP, and a page to try them on."""

from __future__ import annotations

import os
from typing import Any

# A thread that waits for its next product sleeps and leaves its core to the requests; read when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.serve import ServeSettings, serve


@verb("folders")
def run(settings: ServeSettings, output: Output) -> dict[str, Any]:
    """Serve saved models over HTTP, with a page to try them."""
    serve(settings, output.progress, lambda address: output.say(f"listening at {address}, the page is there too"))
    output.say("ended; everything accepted was answered")
    return {}
