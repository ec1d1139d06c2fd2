"""Errors help: one family for what users can mend, and a hint for a name that is nearly right."""

from __future__ import annotations

import pytest

from bertsmith import errors
from bertsmith.errors import BertsmithError, nearest


@pytest.mark.parametrize("kind", [errors.SettingsError, errors.DataError, errors.FileFormatError])
def test_one_family(kind: type[BertsmithError]) -> None:
    assert issubclass(kind, BertsmithError)


def test_nearest_name() -> None:
    assert nearest("clasification", ["classification", "seq2seq"]) == "did you mean 'classification'?"


def test_no_name_is_near() -> None:
    assert nearest("xyz", iter(["classification", "seq2seq"])) == "known: classification, seq2seq"
