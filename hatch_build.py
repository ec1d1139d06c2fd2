"""Compiles the kernels while the package is installed; where there is no compiler the package is plain PyTorch."""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = Path("src/bertsmith/kernels")


class KernelsHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        build = runpy.run_path(str(Path(self.root, KERNELS, "build.py")))
        reason = build["compile_library"]()
        if reason is not None:
            self.app.display_warning(f"bertsmith computes with plain PyTorch: {reason}")
            return
        build_data["artifacts"].append(str(KERNELS / build["LIBRARY"].name))
        # The library is of one platform, but of no Python version: nothing of Python is in it.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
