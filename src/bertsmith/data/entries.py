"""What a user's lists of phrases and of facts have in common: why an entry can occur in no text, and faults told."""

from __future__ import annotations

from collections.abc import Sequence

from bertsmith.text.tokenizer import Tokenizer

FAULTS_SHOWN = 10


def first_of(faults: Sequence[str]) -> str:
    """The first ten faults, a line each, and how many more there are."""
    more = [f"... and {len(faults) - FAULTS_SHOWN:,} more"] if len(faults) > FAULTS_SHOWN else []
    return "\n".join([*faults[:FAULTS_SHOWN], *more])


def why_nowhere(ids: Sequence[int], tokenizer: Tokenizer) -> str | None:
    """Why these pieces are no words of a text, to follow the entry's name; None where they are."""
    if not ids or tokenizer.unk_id in ids:
        what = "is [UNK], in whole or in part" if ids else "has no tokens"
        return f"{what}: the tokenizer does not know it"
    special = next((id for id in ids if id in tokenizer.special_ids), None)
    return None if special is None else f"has {tokenizer.vocab[special]}, which is no word: it marks other things"
