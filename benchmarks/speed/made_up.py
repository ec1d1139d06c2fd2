"""Small data in the layout of the real sets, made up, so that a smoke test needs none of them."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

NOUNS = ("clerk", "garden", "letter", "river", "window", "engine", "ticket", "harbour", "lamp", "teacher")
VERBS = ("sees", "repairs", "forgets", "sells", "paints", "follows", "counts", "carries")
OPINIONS = {"1": ("good", "lovely", "clever"), "0": ("bad", "dull", "clumsy")}


def made_up_data(folder: Path) -> Path:
    """Prose, articles, SST-2's and SQuAD's files under `folder`."""
    rng = random.Random(0)
    _write(folder / "text/wikitext-2/valid.txt.xz", " ".join(_sentence(rng) for _ in range(2000)))
    articles = "".join(_article(rng, number) for number in range(400))
    _write(folder / "text/enwiki2015/enwiki.part00.txt.xz", articles)
    for part, count in (("train", 2000), ("dev", 60)):
        rows = "".join(f"{_review(rng, label)}\t{label}\n" for label in "01" * (count // 2))
        _write(folder / f"glue/SST-2/{part}.tsv.xz", f"sentence\tlabel\n{rows}")
    for name, count in (("train-v1.1", 60), ("dev-v1.1", 10)):
        data = [{"title": "made up", "paragraphs": [_paragraph(rng, f"{name}-{i}") for i in range(count)]}]
        _write(folder / f"squad/{name}.rebuilt.json.xz", json.dumps({"version": "1.1", "data": data}))
    return folder


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(lzma.compress(text.encode()))


def _sentence(rng: random.Random) -> str:
    first, second = rng.sample(NOUNS, 2)
    return f"The {first} {rng.choice(VERBS)} a {second} ."


def _article(rng: random.Random, number: int) -> str:
    lines = [" ".join(_sentence(rng) for _ in range(5)) for _ in range(6)]
    return f'<doc id="{number}" title="{rng.choice(NOUNS)}">\n' + "\n".join(lines) + "\n</doc>\n"


def _review(rng: random.Random, label: str) -> str:
    return f"a {rng.choice(OPINIONS[label])} {rng.choice(NOUNS)} that {rng.choice(VERBS)} the {rng.choice(NOUNS)}"


def _paragraph(rng: random.Random, name: str) -> dict[str, object]:
    context = " ".join(_sentence(rng) for _ in range(rng.randrange(3, 40)))
    answer = context.split()[1]
    asked = {"id": name, "question": "Who acts first?", "answers": [{"text": answer, "answer_start": 4}]}
    return {"context": context, "qas": [asked]}
