"""One self-contained page from small parts: no script, nothing loaded from elsewhere, light or dark, fit for a phone.

Parts take plain text, escape it and return `Markup`; a page takes nothing but `Markup`. This module knows no result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Literal, NewType, Self

from bertsmith.files import atomic_file

Markup = NewType("Markup", str)
"""HTML that may stand in a page as it is."""

Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Example:
    """A text with what was said of it: `tags` are (name, value) pairs, `tone` colours the edge."""

    texts: tuple[str, ...]
    tags: tuple[tuple[str, str], ...] = ()
    tone: Tone = "plain"


class Page:
    """A page that grows section by section.

    >>> Page("Results").section("Scores", paragraph("All < 1.")).html().count("All &lt; 1.")
    1
    """

    def __init__(self, title: str, subtitle: str = ""):
        self.title = title
        self.subtitle = subtitle
        self._sections: list[str] = []

    def section(self, title: str, *parts: Markup) -> Self:
        """Add a section; returns the page."""
        self._sections.append(f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>")
        return self

    def html(self) -> str:
        """The whole document."""
        subtitle = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{escape(self.title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
            f"<header><h1>{escape(self.title)}</h1>{subtitle}</header>\n"
            + "\n".join(self._sections)
            + "\n</main>\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page to `path`, whole or not at all."""
        with atomic_file(path) as temporary:
            temporary.write_text(self.html(), encoding="utf-8")


def paragraph(text: str) -> Markup:
    return Markup(f"<p>{escape(text)}</p>")


def callout(text: str, tone: Tone = "plain") -> Markup:
    """A sentence that a hurried reader should not miss."""
    return Markup(f'<p class="callout {tone}">{escape(text)}</p>')


def bullets(items: Iterable[str]) -> Markup:
    return Markup("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")


def tiles(items: Iterable[tuple[str, str]]) -> Markup:
    """Figures to remember: (value, what it is)."""
    cells = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for value, name in items)
    return Markup(f'<dl class="tiles">{"".join(cells)}</dl>')


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, emphasis: int | None = None) -> Markup:
    """Text in the first column, figures in the others; `emphasis` is the number of the row to set in bold."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = []
    for place, (first, *rest) in enumerate(rows):
        cells = f'<th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        body.append(f'<tr class="emphasis">{cells}</tr>' if place == emphasis else f"<tr>{cells}</tr>")
    return Markup(
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def figure(drawing: Markup, title: str, caption: str = "") -> Markup:
    """A drawing under its title, its caption below."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return Markup(f"<figure><h3>{escape(title)}</h3>{drawing}{below}</figure>")


def side_by_side(*parts: Markup) -> Markup:
    """Parts in columns where there is room."""
    return Markup(f'<div class="columns">{"".join(parts)}</div>')


def examples(items: Iterable[Example]) -> Markup:
    """A card for each example."""
    return Markup(f'<div class="examples">{"".join(map(_card, items))}</div>')


def _card(example: Example) -> str:
    texts = "".join(f"<p>{escape(text)}</p>" for text in example.texts)
    tags = "".join(f"<span><b>{escape(name)}</b> {escape(value)}</span>" for name, value in example.tags)
    return f'<article class="{example.tone}">{texts}<p class="tags">{tags}</p></article>'


# Colours of series are those of Okabe and Ito (2008), told apart with any colour vision; lightened for the dark.
CSS = """
:root { --paper: #fdfdfb; --card: #f3f3ee; --ink: #1d2126; --soft: #5a626b; --faint: #8d959e; --line: #dcdcd4;
  --good: #00795a; --bad: #b3470b; --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #a8638c;
  --series-4: #8c949c; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --card: #1f242a; --ink: #e8e9e6; --soft: #a9b0b8;
  --faint: #7d858e; --line: #343a42; --good: #3cc79b; --bad: #f08c4a; --series-0: #56b4e9; --series-1: #f0883e;
  --series-2: #2fc093; --series-3: #d99bc0; --series-4: #838b94; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header { margin-bottom: 2rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 1.3rem; margin: 3rem 0 0.75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 0.95rem; margin: 0 0 0.5rem; }
p, ul { max-width: 44rem; margin: 0.75rem 0; }
.subtitle { color: var(--soft); font-size: 1.1rem; margin-top: 0.4rem; }
.callout { border-left: 4px solid var(--series-0); background: var(--card); padding: 0.75rem 1rem;
  border-radius: 0 6px 6px 0; }
.callout.good { border-color: var(--good); } .callout.bad { border-color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 0.75rem; margin: 1rem 0; }
.tiles div { background: var(--card); border-radius: 8px; padding: 0.75rem 1rem; display: flex;
  flex-direction: column-reverse; justify-content: flex-end; }
.tiles dt { color: var(--soft); font-size: 0.85rem; line-height: 1.35; } .tiles dd { margin: 0; font-size: 1.35rem;
  font-weight: 600; font-variant-numeric: tabular-nums; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.5rem 2rem;
  align-items: start; margin: 1.25rem 0; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: 0.85rem; margin-top: 0.4rem; }
svg { width: 100%; max-width: 38rem; height: auto; display: block; overflow: visible; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif !important; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.9rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; padding-left: 0; min-width: 9rem; }
thead th { color: var(--soft); font-weight: 500; vertical-align: bottom; } tbody th { font-weight: 400; }
@media (max-width: 34rem) { table { font-size: 0.85rem; } th, td { padding: 0.35rem 0.45rem; }
  th:first-child { min-width: 5.5rem; } }
.emphasis > * { font-weight: 650 !important; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 0.9rem;
  margin: 1rem 0; }
article { background: var(--card); border-left: 4px solid var(--line); border-radius: 0 8px 8px 0; padding: 0.7rem 1rem;
  font-size: 0.92rem; overflow-wrap: anywhere; }
article.good { border-color: var(--good); } article.bad { border-color: var(--bad); }
article p { margin: 0 0 0.5rem; } article .tags { margin: 0; color: var(--soft); font-size: 0.85rem; }
.tags span { display: block; } .tags b { font-weight: 600; color: var(--ink); }
"""
