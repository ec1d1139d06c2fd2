"""The commands that a page shows, so that tests can run what readers will type."""

from __future__ import annotations

import re
from pathlib import Path


def commands(page: Path) -> list[str]:
    """The lines of all bash blocks that begin with python or bertsmith; those that go on are put together."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(("python ", "bertsmith "))]
