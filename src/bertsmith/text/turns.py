"""The turns of a dialogue and a reply to them as one input, each turn a segment, its token type the speaker's.

    [CLS] turn [SEP] turn [SEP] ... reply [SEP]

The reply is of type 1 and so is every other turn before it: those of who replies; what the other one said is of type 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import Pieces, TextWindow, WindowSettings, cut_windows


def cut_turns(
    tokenizer: Tokenizer, turns: Sequence[Pieces], reply: Pieces, settings: WindowSettings, *, where: str = "text"
) -> list[TextWindow]:
    """As many of the last turns as fit with the whole reply; at least the last one, which is cut like a pair's first.

    What was left out is counted. Raises as `cut_windows` does.
    """
    kept = list(turns)
    while len(kept) > 1 and sum(map(len, kept)) + len(reply) + len(kept) + 2 > settings.max_length:
        kept.pop(0)
    num_dropped = sum(map(len, turns)) - sum(map(len, kept))
    windows = cut_windows(tokenizer, [*kept, reply], settings, slide=len(kept), where=where)
    first = replace(windows[0], num_cut_tokens=windows[0].num_cut_tokens + num_dropped)
    return [first, *windows[1:]]
