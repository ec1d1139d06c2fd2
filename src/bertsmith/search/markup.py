"""HTML pages to plain text: what a reader of the page sees, blocks on lines of their own. Loads and runs nothing.

Time is linear in the page, however broken it is, which the standard library's parser's is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

_UNSEEN = {
    *("head", "script", "style", "template", "noscript", "svg", "math", "iframe", "object", "select", "textarea"),
}
_HEADINGS = {"h1", "h2", "h3"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div", "dl"),
    *("dt", "fieldset", "figcaption", "figure", "footer", "form", "h4", "h5", "h6", "header", "hr", "html", "legend"),
    *("li", "main", "menu", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th"),
    *("thead", "tr", "ul", *_HEADINGS),
}
_RAW = {"script", "style", "textarea", "title"}
"""Up to whose end tags nothing is a tag."""
_MARKUP = re.compile(r"<!--|<(/?)([a-zA-Z][a-zA-Z0-9:-]*+)[^<>]*+>|<[!?][^<>]*+>")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")


@dataclass(frozen=True, slots=True)
class Page:
    """title: of `<title>`, else the first heading's."""

    title: str
    text: str


def read_page(html: str) -> Page:
    """Of whatever stands there: unclosed and unknown tags are as browsers take them, nearly.

    >>> read_page("<title>Cups &amp; mugs</title><h1>Mugs</h1><p>A mug<br>holds <b>0.3</b> l.<script>x</script>").text
    'Mugs\\n\\nA mug\\n\\nholds 0.3 l.'
    """
    reader = _Reader()
    at = 0
    while (found := _MARKUP.search(html, at)) is not None:
        reader.read_text(html[at : found.start()])
        at, name = found.end(), (found[2] or "").lower()
        if found[0] == "<!--":
            end = html.find("-->", at)
            at = len(html) if end < 0 else end + 3
        elif found[1]:
            reader.end(name)
        elif name:
            reader.begin(name)
            if name in _RAW:
                end_tag = re.compile(f"</{name}", re.IGNORECASE).search(html, at)
                end = len(html) if end_tag is None else end_tag.start()
                reader.read_text(html[at:end])
                at = end
            elif found[0].endswith("/>"):
                reader.end(name)
    reader.read_text(html[at:])
    title = " ".join("".join(reader.title).split())
    return Page(title or " ".join("".join(reader.heading).split()), _tidied("".join(reader.text)))


def _tidied(text: str) -> str:
    return _LINES.sub("\n\n", _SPACES.sub(" ", text)).strip()


class _Reader:
    """Tags and the texts between them, in order."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.title: list[str] = []
        self.heading: list[str] = []
        self._unseen = ""
        self._depth = 0  # of tags with the name of the unseen one, within it
        self._in_title = False
        self._in_heading = ""

    def begin(self, tag: str) -> None:
        if tag == "title" and self._unseen in ("", "head"):
            self._in_title = not self.title
        elif self._unseen == "head" and (tag == "body" or tag in _BLOCKS):
            self._unseen = ""  # a head that nobody closed
        if self._unseen:
            self._depth += tag == self._unseen
        elif tag in _UNSEEN:
            self._unseen, self._depth = tag, 1
        elif tag == "br" or tag in _BLOCKS:
            self.text.append("\n")
            if tag in _HEADINGS and not self.heading:
                self._in_heading = tag

    def end(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag == self._unseen:
            self._depth -= 1
            self._unseen = self._unseen if self._depth else ""
        elif tag in _BLOCKS:
            self.text.append("\n")
            self._in_heading = "" if tag == self._in_heading else self._in_heading

    def read_text(self, text: str) -> None:
        text = unescape(text)
        if self._in_title:
            self.title.append(text)
        elif not self._unseen:
            # Lines of the source are no lines of the page.
            self.text.append(text.replace("\n", " "))
            if self._in_heading:
                self.heading.append(text)
