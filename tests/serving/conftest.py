"""Without the extra `serve` these files cannot even be imported."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = [] if find_spec("fastapi") else ["test_routes.py", "test_beside.py", "test_explain.py"]
