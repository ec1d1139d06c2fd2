"""Pictures of an explanation as SVG and HTML for a page: words on a tint, bars, attention as a map and as lines.

Colours are variables of the page (`--series-0` for what speaks for the target, `--series-1` for what speaks against it,
`--ink`, `--soft`, `--line`), so that one picture fits a light page and a dark one. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from bertsmith.explain.attention import AttentionMaps
from bertsmith.explain.explanation import Explanation, WordScore
from bertsmith.explain.words import NamedText
from bertsmith.runtime.progress import shorten

MOST_WORDS = 32
"""In a picture of attention, and of bars; of more the ones with the largest scores."""
LINES_A_WORD = 3
LABEL_CHARACTERS = 16
SPECIAL = "[CLS] [SEP]"
ROW, BAR_WIDTH, LABEL_WIDTH = 18, 260, 150


def strongest(words: Sequence[WordScore], most: int = MOST_WORDS) -> list[int]:
    """The places of the words with the largest scores, for or against, in the order of the text."""
    order = sorted(range(len(words)), key=lambda place: -abs(words[place].score))
    return sorted(order[:most])


def marked_text(text: NamedText, words: Sequence[WordScore]) -> str:
    """A text as a paragraph, its words on tints as strong as their scores are beside the largest one."""
    largest = max((abs(word.score) for word in words), default=0.0) or 1.0
    parts, at = [], 0
    for word in sorted((word for word in words if word.text == text.name), key=lambda word: word.start):
        if word.start < at:
            continue
        parts.append(escape(text.text[at : word.start]))
        series, share = (0 if word.score >= 0 else 1), round(70 * abs(word.score) / largest)
        tint = f"background:color-mix(in srgb, var(--series-{series}) {share}%, transparent)"
        shown = escape(text.text[word.start : word.end])
        parts.append(f'<span title="{word.score:+.4f}" style="{tint};border-radius:3px;padding:0.1em">{shown}</span>')
        at = word.end
    parts.append(escape(text.text[at:]))
    return f'<p style="white-space:pre-wrap;line-height:1.9" dir="auto">{"".join(parts)}</p>'


def score_bars(words: Sequence[WordScore]) -> str:
    """A row for each word: to the right what speaks for the target, to the left what speaks against it."""
    shown = [words[place] for place in strongest(words)]
    largest = max((abs(word.score) for word in shown), default=0.0) or 1.0
    middle = LABEL_WIDTH + (BAR_WIDTH / 2 if any(word.score < 0 for word in shown) else 0)
    room = LABEL_WIDTH + BAR_WIDTH - middle
    rows = []
    for place, word in enumerate(shown):
        length, top = room * abs(word.score) / largest, place * ROW
        left = middle if word.score >= 0 else middle - length
        rows.append(
            _label(LABEL_WIDTH - 8, top + 13, word.word, "end")
            + f'<rect x="{left:.1f}" y="{top + 3}" width="{length:.1f}" height="{ROW - 6}" '
            f'fill="var(--series-{0 if word.score >= 0 else 1})"/>'
            + f'<text x="{LABEL_WIDTH + BAR_WIDTH + 8}" y="{top + 13}" font-size="11" fill="var(--ink)">'
            f"{word.score:+.3f}</text>"
        )
    axis = f'<line x1="{middle}" x2="{middle}" y1="0" y2="{len(shown) * ROW}" stroke="var(--line)"/>'
    return _svg(LABEL_WIDTH + BAR_WIDTH + 70, len(shown) * ROW + 4, "Scores of the words", axis + "".join(rows))


def head_map(found: Explanation) -> str:
    """A row for each head of each layer, a column for each word: what it looks at from where the prediction is read."""
    maps, words = _named(found)
    num_layers, num_heads, _ = maps.by_head.shape
    height, left, top = max(4, min(12, 420 // (num_layers * num_heads))), 46, 92
    width = min(28, 640 // len(words))
    cells = []
    for layer in range(num_layers):
        begin = top + layer * (num_heads * height + 3)
        cells.append(_label(left - 6, begin + num_heads * height / 2 + 4, f"layer {layer + 1}", "end", size=9))
        for head in range(num_heads):
            for column, value in enumerate(maps.by_head[layer, head].tolist()):
                cells.append(
                    f'<rect x="{left + column * width}" y="{begin + head * height}" width="{width - 1}" '
                    f'height="{height - 0.5}" fill="var(--series-0)" fill-opacity="{_strength(value)}"/>'
                )
    names = [
        f'<text transform="translate({left + (place + 0.5) * width + 3:.1f} {top - 6}) rotate(-60)" font-size="10" '
        f'fill="var(--ink)">{escape(shorten(name, LABEL_CHARACTERS))}</text>'
        for place, name in enumerate(words)
    ]
    size = left + len(words) * width + 40, top + num_layers * (num_heads * height + 3)
    return _svg(*size, "Attention by layer and head", "".join(names + cells))


def word_lines(found: Explanation, layer: int) -> str:
    """The words twice, and lines from each to those that it looks at most in one layer, the heads' mean."""
    maps, words = _named(found)
    parts = []
    # Without the special tokens: lines to [CLS] and [SEP] would hide all others.
    for row, line in enumerate(maps.between[layer, :-1, :-1]):
        y = row * ROW + 12
        parts.append(_label(LABEL_WIDTH - 8, y + 4, words[row], "end"))
        parts.append(_label(LABEL_WIDTH + BAR_WIDTH + 8, y + 4, words[row], "start"))
        for column in np.argsort(-line)[:LINES_A_WORD].tolist():
            parts.append(
                f'<line x1="{LABEL_WIDTH}" y1="{y}" x2="{LABEL_WIDTH + BAR_WIDTH}" y2="{column * ROW + 12}" '
                f'stroke="var(--series-0)" stroke-width="1.6" stroke-opacity="{_strength(float(line[column]))}"/>'
            )
    size = 2 * LABEL_WIDTH + BAR_WIDTH, len(maps.words) * ROW + 6
    return _svg(*size, f"Attention between words, layer {layer + 1}", "".join(parts))


def _named(found: Explanation) -> tuple[AttentionMaps, list[str]]:
    """The attention that is drawn, and the names of its columns."""
    maps = found.strongest_attention(MOST_WORDS)
    assert maps is not None, "a model that keeps no attention"
    return maps, [*(found.words[number].word for number in maps.words.tolist()), SPECIAL]


def _strength(value: float) -> str:
    """Of attention, from 0 to 1: its root, so that the small is seen beside the large."""
    return f"{min(1.0, max(0.0, value)) ** 0.5:.2f}"


def _label(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    shown = escape(shorten(text, LABEL_CHARACTERS))
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="var(--ink)">{shown}</text>'


def _svg(width: float, height: float, title: str, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(title)}" style="max-width:{width:.0f}px">{content}</svg>'
    )
