"""The scripts of `examples/`, importable as they import each other; a copy of the tests without them skips these."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

if EXAMPLES.is_dir():
    sys.path[:0] = [str(EXAMPLES / "review_analysis"), str(EXAMPLES / "support_desk")]
else:
    collect_ignore_glob = ["test_*.py"]
