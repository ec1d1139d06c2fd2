from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bertsmith.evaluation.report import (
    Example,
    Markup,
    Page,
    bullets,
    callout,
    examples,
    figure,
    paragraph,
    side_by_side,
    table,
    tiles,
)


class Elements(HTMLParser):
    """The tags and the text of a document, and a check that every tag is closed in turn."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_with(text: str) -> str:
    parts = [
        paragraph(text),
        callout(text, "good"),
        bullets([text]),
        tiles([(text, text)]),
        table([text, text], [[text, text]], emphasis=0),
        figure(Markup("<svg></svg>"), text, text),
        examples([Example((text, text), ((text, text),), "bad")]),
    ]
    return Page(text, text).section(text, side_by_side(*parts)).html()


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_whatever_the_text_the_elements_are_the_same(text: str) -> None:
    ordinary, other = Elements(page_with("word")), Elements(page_with(text or "."))
    assert [tag for tag in other.tags if tag != "p"] == [tag for tag in ordinary.tags if tag != "p"]
    assert not other.open


def test_markup_in_a_text_is_text() -> None:
    html = page_with("<script>alert('&')</script>")
    assert "<script" not in html
    assert "<script>alert('&')</script>" in Elements(html).text


def test_a_page_needs_nothing_from_elsewhere_and_fits_a_phone() -> None:
    html = page_with("word")
    assert "http" not in html
    assert "url(" not in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_sections_come_in_order_and_the_file_is_the_page(tmp_path: Path) -> None:
    page = Page("Results").section("First", paragraph("one")).section("Second", paragraph("two"))
    page.write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html == page.html()
    assert html.index("First") < html.index("one") < html.index("Second") < html.index("two")


def test_a_table_sets_one_row_in_bold() -> None:
    html = table(["model", "accuracy"], [["a", "1"], ["b", "2"]], emphasis=1)
    assert html.count('<tr class="emphasis">') == 1
    assert html.index('class="emphasis"') > html.index(">a<")
