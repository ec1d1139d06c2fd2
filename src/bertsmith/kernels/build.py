"""Compiles the kernels of `native/` into one shared library beside this file.

Standard library only, since it runs while the package is installed; by hand:

    python -m bertsmith.kernels.build [--sanitize] [FILE]

Plain C++ with a C interface, no headers of PyTorch: one build serves every version of it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = HERE / "_native.so"
COMMON = ("-O3", "-std=c++17", "-fPIC", "-fopenmp", "-Wall", "-Wextra", "-Wno-maybe-uninitialized")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g")
VECTORS = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512bf16", "-mfma")
TILES = ("-mamx-tile", "-mamx-bf16", "-mamx-int8")
FLAGS = {
    "processor.cpp": (),
    "attention.cpp": VECTORS,
    "residual.cpp": VECTORS,
    "gelu.cpp": VECTORS,
    "scores.cpp": VECTORS,
    "layer.cpp": (*VECTORS, "-mavx512vnni"),
    "linear.cpp": VECTORS,
    "adamw.cpp": VECTORS,
    "tiles.cpp": (*VECTORS, *TILES),
}
"""Each file with the instructions it may use. `processor.cpp` runs on any processor and says whether the others may."""


def fingerprint() -> str:
    """Of the sources: a library that was compiled from others has another interface, perhaps."""
    digest = hashlib.sha256()
    for file in sorted((HERE / "native").iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _compile(target: Path, extra: tuple[str, ...]) -> str | None:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return f"kernels are for Linux on x86-64, not for {sys.platform} on {platform.machine()}"
    compiler = _compiler()
    if compiler is None:
        return "no C++ compiler (g++, clang++, or the one that CXX names)"
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        made_of = [f'-DBERTSMITH_FINGERPRINT="{fingerprint()}"']
        for name, flags in FLAGS.items():
            objects.append(str(Path(folder, name).with_suffix(".o")))
            source = str(HERE / "native" / name)
            rest = (*extra, *made_of, "-c", source, "-o", objects[-1])
            failed = _run([*compiler, *COMMON, *flags, *rest])
            if failed and set(TILES) <= set(flags):  # an older compiler: the file says that there are no tiles
                failed = _run([*compiler, *COMMON, *(flag for flag in flags if flag not in TILES), *rest])
            if failed:
                return f"{name} was not compiled: {failed}"
        partial = str(Path(folder, "library.so"))
        failed = _run([*compiler, "-shared", "-fopenmp", *extra, *objects, "-o", partial])
        if failed:
            return f"the library was not linked: {failed}"
        beside = target.with_suffix(".partial")
        shutil.copyfile(partial, beside)
        beside.replace(target)
    return None


def compile_library(target: Path = LIBRARY, extra: tuple[str, ...] = ()) -> str | None:
    """Writes the library; None, or in one line why there is none. extra: further flags, of a sanitizer say."""
    try:
        return _compile(target, extra)
    except OSError as error:  # a read-only folder, a full disk: no reason for an installation to fail
        return str(error)


def _compiler() -> list[str] | None:
    named = os.environ.get("CXX")
    if named:
        return shlex.split(named)
    found = shutil.which("g++") or shutil.which("clang++")
    return [found] if found else None


def _run(command: list[str]) -> str | None:
    """None, or the first line that says what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no message"]
    return lines[0][:300]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the kernels.")
    parser.add_argument("file", nargs="?", type=Path, default=LIBRARY, help="where to write the library")
    parser.add_argument("--sanitize", action="store_true", help="with the address and undefined-behaviour sanitizers")
    arguments = parser.parse_args()
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    reason = compile_library(arguments.file, SANITIZERS if arguments.sanitize else ())
    print(reason or f"compiled {arguments.file}")
    sys.exit(reason is not None)


if __name__ == "__main__":
    main()
