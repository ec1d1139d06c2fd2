"""How BERT changes text before it separates words: case, accents, Chinese characters as words of their own."""

from __future__ import annotations

from typing import Protocol

from tokenizers.normalizers import BertNormalizer


class Normalization(Protocol):
    """What settings and saved tokenizers alike say of it. strip_accents: `None` means as `lowercase`."""

    @property
    def lowercase(self) -> bool: ...

    @property
    def strip_accents(self) -> bool | None: ...

    @property
    def handle_chinese_chars(self) -> bool: ...


def bert_normalizer(how: Normalization) -> BertNormalizer:
    """The core's own."""
    return BertNormalizer(
        clean_text=True,
        handle_chinese_chars=how.handle_chinese_chars,
        strip_accents=how.strip_accents,
        lowercase=how.lowercase,
    )
