"""The page in a real browser against a real server of tiny models: what people type, press and see.

Every test ends with the question whether the browser complained of a script, a style or the policy.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_served import NAMES, SCRIPT, ToyLibrary, listening, toy_app, toy_artifact

from bertsmith.explain.explanation import EXPLAINERS
from bertsmith.search.documents import Document

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

EMOJI = "\U0001f600"
"""One character to Python, two to JavaScript."""
UNKNOWN = "<b onclick=nowhere>"
"""Of no word that a document or its title has, and to be shown as it is."""

TYPED: dict[str, list[tuple[str, str]]] = {
    "classification": [("Text", "ba be bi")],
    "multi_label": [("Text", "ba be bi")],
    "regression": [("Text", "ba be bi")],
    "token_classification": [("Text", f"{EMOJI} ba be")],
    "question_answering": [("Passage", f"{EMOJI} be bi bo bu ba"), ("Question", "ba be")],
    "multiple_choice": [("Choice 1", "be"), ("Choice 2", "bi"), ("Question", "ba")],
    "embedding": [("Text 1", "ba be"), ("Text 2", "bo bu")],
    "reranking": [("Passage 1", "be"), ("Passage 2", "bi bo"), ("Query", "ba")],
    "pretraining": [("Text", "ba [MASK] bo [MASK]")],
    "seq2seq": [("Text", "ba be bi")],
}
"""What is typed into which field of each model, the one in which Enter is pressed last."""


DOCUMENTS = (
    Document("hours", f"{EMOJI} ba be. {EMOJI} bo bu do.", f"Hours {EMOJI}", {"year": 2024}),
    Document("fees", "da de.", SCRIPT, {"year": 2020}),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    beside = ToyLibrary.create(folder / "library", DOCUMENTS).beside("library")
    with toy_app([toy_artifact(folder, name) for name in NAMES], **beside) as app, listening(app) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Of the size and the colours that a test asks for, shared by those that ask for the same."""
    context = browser.new_context(**getattr(request, "param", {"viewport": {"width": 1100, "height": 800}}))
    context.set_default_timeout(30_000)  # machines stall
    yield context
    context.close()


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    yield page
    title = page.title()
    page.close()
    # A request that failed is a line of the console too, and no mistake of the page.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
    assert title != "broken"


phone = pytest.mark.parametrize("context", [{"viewport": {"width": 360, "height": 740}}], indirect=True)


def opened(page: Any, address: str, name: str) -> Any:
    page.goto(f"{address}/#model/{name}")
    page.get_by_role("heading", level=1, name=name).wait_for()
    return page


def asked(page: Any, address: str, name: str) -> dict[str, Any]:
    """Type, press Enter, and wait; the server's answer as the page got it."""
    opened(page, address, name)
    for label, text in TYPED[name]:
        page.get_by_label(label, exact=True).fill(text)
    with page.expect_response("**/predict") as answered:
        page.keyboard.press("Enter")
    page.locator(".result .timing").wait_for()
    answer: dict[str, Any] = answered.value.json()
    return answer


def headline(page: Any) -> str:
    text: str = page.locator(".result .headline").inner_text()
    return text


def percent(share: float) -> str:
    return f"{share:.1%}"


def test_every_model_is_listed_with_its_task(page: Any, address: str) -> None:
    opened(page, address, "regression")
    links = page.get_by_role("navigation").get_by_role("link")
    shown = [link.inner_text().split("\n")[0] for link in links.all()]
    assert shown == [*NAMES, "library", "library", "Assistant"]
    assert page.get_by_role("navigation").locator("[aria-current]").inner_text() == "regression\nClassification"


def test_one_label(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "classification")["predictions"]
    assert headline(page) == f"{answer['label']}, {percent(answer['score'])}"
    rows = page.locator(".bars li")
    scores = sorted(answer["scores"].items(), key=lambda item: -item[1])
    assert rows.all_inner_texts() == [f"{label}\n{percent(score)}" for label, score in scores]
    widths = [row.evaluate("row => row.querySelector('.bar span').style.inlineSize") for row in rows.all()]
    assert [float(width.rstrip("%")) for width in widths] == pytest.approx([100 * s for _, s in scores], abs=0.01)


def test_several_labels(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "multi_label")["predictions"]
    assert headline(page) == (", ".join(answer["labels"]) or "None of the labels")
    assert page.locator(".bars .chosen").count() == len(answer["labels"])


def test_a_number(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "regression")["predictions"]
    assert headline(page) == f"{answer['score']:.3f}".replace("-", "\N{MINUS SIGN}")


def test_entities_are_marked_where_they_stand(page: Any, address: str) -> None:
    """Offsets count characters as Python does; behind an emoji JavaScript's own would be one off."""
    (answer,) = asked(page, address, "token_classification")["predictions"]
    assert len(answer["entities"]) > 0
    marks = page.locator(".details mark").all_inner_texts()
    assert marks == [f"{entity['word']}{entity['entity_group']}" for entity in answer["entities"]]
    legend = {entity["entity_group"] for entity in answer["entities"]}
    assert page.get_by_label("Legend").locator("li").count() == len(legend)


def test_an_answer_is_marked_in_its_passage(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "question_answering")["predictions"]
    assert answer["start"] > 0
    assert page.locator(".details mark").all_inner_texts() == [answer["answer"]]
    assert page.locator(".details .said").inner_text() == dict(TYPED["question_answering"])["Passage"]


def test_a_choice(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "multiple_choice")["predictions"]
    assert headline(page) == f"{answer['choice']}, {page.locator('.bars .chosen .value').inner_text()}"
    assert page.locator(".bars .name").all_inner_texts() == ["be", "bi"]


def test_similarities(page: Any, address: str) -> None:
    one, other = (p["embedding"] for p in asked(page, address, "embedding")["predictions"])
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    cosine = dot / (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5
    shown = f"{cosine:.2f}".replace("-", "\N{MINUS SIGN}")
    assert headline(page) == f"Similarity {shown}"
    assert page.locator(".matrix tbody td").all_inner_texts() == ["1", shown, shown, "1"]


def test_passages_in_order(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "reranking")["predictions"]
    passages = ["be", "bi bo"]
    assert page.locator(".bars .name").all_inner_texts() == [passages[place] for place in answer["ranking"]]


def test_words_for_each_mask(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "pretraining")["predictions"]
    first, second = (candidates[0]["token"] for candidates in answer["fills"])
    assert headline(page) == f"ba {first} bo {second}"
    assert page.locator(".details section").count() == 2


def test_a_written_text(page: Any, address: str) -> None:
    (answer,) = asked(page, address, "seq2seq")["predictions"]
    assert headline(page) == answer["text"]


def test_what_was_cut_is_said(page: Any, address: str) -> None:
    opened(page, address, "seq2seq")
    page.get_by_label("Text").fill("ba " * 100)
    page.keyboard.press("Enter")
    page.get_by_text("were not read").wait_for()


def test_a_text_in_the_form_of_a_script_stays_a_text(page: Any, address: str) -> None:
    opened(page, address, "token_classification")
    page.get_by_label("Text").fill(SCRIPT)
    page.keyboard.press("Enter")
    page.locator(".details mark").first.wait_for()
    shown = page.locator(".details .said").evaluate(
        "said => [...said.querySelectorAll('.tag')].forEach(tag => tag.remove()) ?? said.textContent"
    )
    assert shown == SCRIPT
    asked(page, address, "classification")
    assert SCRIPT in page.locator(".bars .name").all_inner_texts()
    assert page.locator("main img").count() == 0


def test_the_keyboard_alone(page: Any, address: str) -> None:
    """From the link that skips the list to the answer; then by the list to another model, whose heading is told."""
    page.goto(address)
    page.get_by_role("heading", level=1).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the form"
    page.keyboard.press("Enter")
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.type("ba [MASK]")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("bo")
    page.keyboard.press("Enter")
    page.locator(".result .timing").wait_for()
    assert headline(page).endswith("\nbo")
    page.get_by_role("navigation").get_by_role("link", name="seq2seq").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="seq2seq").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    # What was typed is still there on the way back.
    page.go_back()
    page.get_by_role("heading", level=1, name="pretraining").wait_for()
    assert page.get_by_label("Text").input_value() == "ba [MASK]\nbo"


def test_every_field_and_button_has_a_name(page: Any, address: str) -> None:
    for name in NAMES:
        opened(page, address, name)
        nameless = page.evaluate(
            "[...document.querySelectorAll('input, textarea, select, button')].filter(one => !one.hidden && "
            "!(one.labels?.length || one.getAttribute('aria-label') || one.textContent)).length"
        )
        assert nameless == 0, name


@phone
def test_a_phone_never_scrolls_sideways(page: Any, address: str) -> None:
    for name in NAMES:
        asked(page, address, name)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


@phone
def test_nothing_jumps_while_the_page_loads(page: Any, address: str) -> None:
    page.add_init_script(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(e => { window.shift += e.value }))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    opened(page, address, "embedding")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("shift") < 0.02


@pytest.mark.parametrize("context", [{"color_scheme": scheme} for scheme in ("light", "dark")], indirect=True)
def test_words_stand_out_from_their_ground(page: Any, address: str) -> None:
    """WCAG's 4.5 to 1 in either scheme."""
    opened(page, address, "classification")
    pairs = [("ink", "paper"), ("ink", "shade"), ("soft", "paper"), ("soft", "shade"), ("accent", "paper")]
    for words, ground in [*pairs, ("on-accent", "accent"), ("good", "card")]:
        colours = page.evaluate(
            "names => names.map(name => getComputedStyle(document.documentElement).getPropertyValue(name).trim())",
            [f"--{words}", f"--{ground}"],
        )
        light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (words, ground)


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_text_has_its_own_direction(page: Any, address: str) -> None:
    opened(page, address, "token_classification")
    page.get_by_label("Text").fill("שלום עולם")
    page.keyboard.press("Enter")
    page.locator(".details .said").wait_for()
    assert page.locator(".details .said").evaluate("said => getComputedStyle(said).direction") == "rtl"
    assert page.locator("h1").evaluate("heading => getComputedStyle(heading).direction") == "ltr"


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_copied_command_asks_the_same(page: Any, context: Any, address: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    opened(page, address, "token_classification")
    page.get_by_label("Text").fill(f'it\'s "ba" $HOME `be` \\ {EMOJI}')
    page.get_by_role("button", name="Copy as curl").click()
    page.get_by_text("Copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()") + " --silent"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=10)
    words = [word["word"] for word in json.loads(done.stdout)["predictions"][0]["words"]]
    assert words == ["it", "'", "s", '"', "ba", '"', "$", "HOME", "`", "be", "`", "\\", EMOJI]


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (429, {"Retry-After": "7"}, ["Too many requests", "The limit is ten.", "Try again in 7 s."]),
        (503, {"Retry-After": "2"}, ["The server is busy", "The limit is ten.", "Try again in 2 s."]),
        (504, {}, ["This took too long", "Try again, or with less text."]),
        (413, {}, ["Too much text", "The limit is ten."]),
    ],
)
def test_a_refusal_says_what_to_do(
    page: Any, address: str, status: int, headers: dict[str, str], said: list[str]
) -> None:
    """Answered in the server's stead: it refuses so only under load. After it, the real server is asked again."""
    opened(page, address, "classification")
    body = {"error": {"type": "x", "message": "The limit is ten.", "index": None}}
    page.route("**/predict", lambda route: route.fulfill(status=status, headers=headers, json=body), times=1)
    page.get_by_label("Text").fill("ba be bi")
    page.keyboard.press("Enter")
    for text in said:
        page.get_by_text(text).wait_for()
    again = page.get_by_role("button", name="Try again")
    if again.count():
        again.click()
    else:
        page.get_by_role("button", name="Classify").click()
    page.locator(".result .timing").wait_for()


def test_a_server_that_is_gone(page: Any, address: str) -> None:
    opened(page, address, "classification")
    page.route("**/predict", lambda route: route.abort(), times=1)
    page.get_by_label("Text").fill("ba")
    page.keyboard.press("Enter")
    page.get_by_text("The server does not answer").wait_for()


def test_a_model_without_masks_in_its_text_says_so(page: Any, address: str) -> None:
    opened(page, address, "pretraining")
    page.get_by_label("Text").fill("ba be")
    page.keyboard.press("Enter")
    page.get_by_text("no [MASK]").wait_for()
    page.get_by_role("button", name="Insert [MASK]").click()
    page.keyboard.press("Enter")
    page.locator(".result .timing").wait_for()


def explained(page: Any, address: str, name: str) -> dict[str, Any]:
    """Ask, and open why; the explanation as the page got it."""
    asked(page, address, name)
    with page.expect_response("**/explain") as answered:
        page.get_by_text("Why this answer").click()
    page.get_by_text("Explained in").wait_for()
    answer: dict[str, Any] = answered.value.json()
    return answer


@pytest.mark.parametrize("name", NAMES)
def test_why_a_model_says_so(page: Any, address: str, name: str) -> None:
    found = explained(page, address, name)
    box = page.locator(".why")
    assert found["faithfulness"]["verdict"] in box.inner_text()
    assert found["target"]["name"] in box.inner_text()
    largest = max(abs(word["score"]) for word in found["words"])
    strong = [word["word"] for word in found["words"] if abs(word["score"]) > 0.02 * largest]
    assert sorted(box.locator("mark").all_inner_texts()) == sorted(strong)
    assert box.locator("svg").count() == 2
    num_cells = sum(len(row) for layer in found["attention"]["by_head"] for row in layer)
    assert box.get_by_label("Attention by layer and head", exact=True).locator("rect").count() == num_cells


def test_another_explainer_and_another_label(page: Any, address: str) -> None:
    explained(page, address, "classification")
    options = page.get_by_label("Explained by").locator("option")
    assert [option.get_attribute("value") for option in options.all()] == list(EXPLAINERS)
    page.get_by_text(EXPLAINERS["integrated_gradients"].does).wait_for()
    with page.expect_response("**/explain") as answered:
        page.get_by_label("Explained by").select_option("occlusion")
    assert answered.value.json()["explainer"] == "occlusion"
    page.get_by_label("What to explain").fill("nothing of the kind")
    page.keyboard.press("Enter")
    page.get_by_text("no label 'nothing of the kind'").wait_for()
    page.get_by_label("What to explain").fill(SCRIPT)
    page.keyboard.press("Enter")
    page.locator(".why strong").get_by_text(SCRIPT).wait_for()
    before = page.get_by_label("Attention between words, layer 2", exact=True).locator("line").count()
    page.get_by_label("Between words, layer", exact=True).select_option("0")
    assert page.get_by_label("Attention between words, layer 1", exact=True).locator("line").count() == before > 0


@phone
def test_an_explanation_fits_a_phone(page: Any, address: str) -> None:
    explained(page, address, "question_answering")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_hits_of_a_search(page: Any, address: str) -> None:
    page.goto(f"{address}/#search/library")
    page.get_by_label("Query").fill("ba bo de")
    with page.expect_response("**/search") as answered:
        page.keyboard.press("Enter")
    hits = page.locator(".hits li")
    hits.nth(1).wait_for()
    titles = [hit["title"] for hit in answered.value.json()["hits"]]
    assert sorted(titles) == sorted(document.title for document in DOCUMENTS)
    assert hits.locator("h3").all_inner_texts() == titles
    assert "year: 2020" in hits.nth(titles.index(SCRIPT)).inner_text()
    page.get_by_role("button", name="Add filter").click()
    page.keyboard.type("year=2024")
    page.keyboard.press("Enter")
    page.get_by_text("1 hit", exact=True).wait_for()
    assert hits.count() == 1
    page.get_by_label("Query").fill("nowhere")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing found").wait_for()


def test_filters_are_values_lists_and_borders(page: Any, address: str) -> None:
    page.goto(f"{address}/#search/library")
    page.get_by_label("Query").fill("ba")
    for line in ("year >= 2020", "year<2025", "language=en", "language=de", "open", "code=007-1"):
        page.get_by_role("button", name="Add filter").click()
        page.keyboard.type(line)
    page.route("**/search", lambda route: route.fulfill(json={"hits": [], "index": "library", "timing": {}}), times=1)
    with page.expect_request("**/search") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json["filters"] == {
        "year": {"gte": 2020, "lt": 2025},
        "language": ["en", "de"],
        "open": True,
        "code": "007-1",
    }


def test_an_answer_with_its_citation_and_none(page: Any, address: str) -> None:
    page.goto(f"{address}/#ask/library")
    page.get_by_label("Question").fill("ba")
    with page.expect_response("**/ask") as answered:
        page.keyboard.press("Enter")
    page.locator(".citation mark").wait_for()
    found = answered.value.json()
    assert headline(page) == f"{found['answer']}, {percent(found['score'])}"
    citation = found["citation"]
    assert page.locator(".citation mark").inner_text() == citation["text"]
    assert citation["text"] == DOCUMENTS[0].text[citation["start"] : citation["end"]]
    assert page.locator(".citation .said").inner_text() == found["hits"][0]["text"]
    page.get_by_label("Question").fill("nowhere")
    page.keyboard.press("Enter")
    page.get_by_text("I don't know").wait_for()


def test_a_dialogue_until_it_is_handed_over(page: Any, address: str) -> None:
    page.goto(f"{address}/#chat")
    page.get_by_label("Your message").fill("ba")
    with page.expect_response("**/chat") as answered:
        page.keyboard.press("Enter")
    page.locator(".turns .theirs .citation").wait_for()
    page.get_by_label("Your message").fill(UNKNOWN)
    with page.expect_request("**/chat") as sent:
        page.keyboard.press("Enter")
    assert sent.value.post_data_json == {"text": UNKNOWN, "conversation": answered.value.json()["conversation"]}
    page.locator(".turns .handover").wait_for()
    assert page.locator(".turns .mine").all_inner_texts() == ["ba", UNKNOWN]
    page.get_by_role("button", name="New conversation").click()
    assert page.locator(".turns li").count() == 0
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"


def test_what_was_not_read_of_a_message_or_a_question_is_said(page: Any, address: str) -> None:
    for place, label in {"chat": "Your message", "ask/library": "Question"}.items():
        page.goto(f"{address}/#{place}")
        page.get_by_label(label).fill("ba " * 100)
        page.keyboard.press("Enter")
        page.locator(".callout.warning", has_text="Too long for the model").wait_for()


def test_a_key_is_asked_for_and_kept_in_the_tab(page: Any, tmp_path: Path) -> None:
    key = "a key of the toy server".replace(" ", "-")
    with toy_app([toy_artifact(tmp_path, "classification")], [key]) as app, listening(app) as address:
        page.goto(address)
        page.get_by_label("This server wants a key").fill("not-the-right-one")
        page.keyboard.press("Enter")
        page.get_by_text("wants a key: the header").wait_for()
        page.get_by_label("This server wants a key").fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("heading", level=1).wait_for()
        asked(page, address, "classification")
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]
        page.reload()
        page.get_by_role("heading", level=1).wait_for()


def test_every_route_has_a_command(page: Any, address: str) -> None:
    page.goto(f"{address}/docs")
    routes = page.locator(".route")
    routes.first.wait_for()
    assert routes.count() > len(NAMES)
    page.get_by_text("/v1/models/regression/predict", exact=True).click()
    assert "curl 'http://127.0.0.1" in page.locator(".route[open] pre").inner_text()
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_files_of_the_page_are_in_the_package() -> None:
    from bertsmith.serving.static import page_files

    names = set(page_files())
    folder = Path(__file__).parents[2] / "src/bertsmith/serving/page"
    assert names == {file.name for file in folder.iterdir()} >= {"index.html", "style.css", "page.js"}


def test_what_was_cut_is_said_beside_the_explanation_too(page: Any, address: str) -> None:
    opened(page, address, "seq2seq")
    page.get_by_label("Text").fill("ba " * 100)
    page.keyboard.press("Enter")
    with page.expect_response("**/explain") as answered:
        page.get_by_text("Why this answer").click()
    num_cut = answered.value.json()["coverage"]["num_cut_tokens"]
    assert num_cut > 0
    page.locator(".why").get_by_text(f"Explained are {100 - num_cut} of 100 words.", exact=True).wait_for()
    page.locator(".why").get_by_text(f"{num_cut} tokens were not read").wait_for()


@pytest.mark.parametrize("holds", [True, False])
def test_scores_that_do_not_add_up_are_told(page: Any, address: str, holds: bool) -> None:
    """The server's own answer, but for the one figure."""

    def changed(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        body["faithfulness"]["completeness"] |= {"holds": holds, "error": 0.25}
        route.fulfill(response=answer, json=body)

    asked(page, address, "classification")
    page.route("**/explain", changed, times=1)
    page.get_by_text("Why this answer").click()
    page.get_by_text("Explained in").wait_for()
    assert page.locator(".why").get_by_text("The scores miss 25.0%").count() == (not holds)
