"""The index: light to import, complete, and clear about a name that it does not have."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import bertsmith


def test_import_is_light() -> None:
    heavy = ("torch", "tokenizers", "numpy", "pyarrow", "sklearn", "pydantic", "rich")
    program = f"import sys, bertsmith; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", bertsmith.__all__)
def test_every_name_of_the_index_is_there(name: str) -> None:
    assert getattr(bertsmith, name).__name__ == name
    assert name in dir(bertsmith)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'BertForDinner'"):
        _ = bertsmith.BertForDinner


def test_version_is_that_of_the_distribution() -> None:
    assert bertsmith.__version__ == version("bertsmith")


ROOT = Path(bertsmith.__file__).parent
WITH_EXAMPLES = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings(path: Path) -> None:
    name = ".".join(("bertsmith", *path.with_suffix("").parts)).removesuffix(".__init__")
    assert doctest.testmod(import_module(name)).failed == 0


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").exists()
