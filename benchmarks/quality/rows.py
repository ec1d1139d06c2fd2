"""The rows of every set as plain records, read straight from the folder of data sets, the same for all systems.

A record's keys are those of bertsmith's tasks: text, text_pair, label; words, tags, before, after; question, context,
answers; question, choices, label; text, text_pair, score. Where labels exist for train and dev only, dev is the test
set.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.files import open_bytes
from bertsmith.text.sentences import split_sentences
from quality.sets import QualitySet

Record = dict[str, Any]
SUBSET_SEED = 20260101
"""Of the fixed subsets: another than any run's, so that what is left out has nothing to do with a run."""


@dataclass(frozen=True)
class Rows:
    train: list[Record]
    test: list[Record]


def read_rows(quality: QualitySet, data_dir: Path) -> Rows:
    """All training and test records of a set, or its fixed random subsets, in the order of the files."""
    rows = READERS[quality.name](data_dir, quality)
    return Rows(_subset(rows.train, quality.num_train), _subset(rows.test, quality.num_test))


def _subset(records: Sequence[Record], size: int | None) -> list[Record]:
    if size is None or size >= len(records):
        return list(records)
    return [records[i] for i in sorted(random.Random(SUBSET_SEED).sample(range(len(records)), size))]


def _text(path: Path) -> str:
    with open_bytes(path) as file:
        return file.read().decode("utf-8-sig")


def _lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in _text(path).split("\n") if line]


def _single(path: Path, text: int, label: int, *, header: bool) -> list[Record]:
    return [{"text": row[text], "label": row[label]} for row in _lines(path)[header:]]


def _pairs(path: Path, texts: tuple[int, int], label: int) -> list[Record]:
    return [{"text": row[texts[0]], "text_pair": row[texts[1]], "label": row[label]} for row in _lines(path)[1:]]


def _sst2(data: Path, _: QualitySet) -> Rows:
    folder = data / "glue/SST-2"
    return Rows(*(_single(folder / f"{part}.tsv.xz", 0, 1, header=True) for part in ("train", "dev")))


def _cola(data: Path, _: QualitySet) -> Rows:
    folder = data / "glue/CoLA"
    return Rows(*(_single(folder / f"{part}.tsv.xz", 3, 1, header=False) for part in ("train", "dev")))


def _mrpc(data: Path, _: QualitySet) -> Rows:
    folder = data / "glue/MRPC"
    return Rows(*(_pairs(folder / f"msr_paraphrase_{part}.txt.xz", (3, 4), 0) for part in ("train", "test")))


def _glue_pairs(name: str) -> Callable[[Path, QualitySet], Rows]:
    """RTE's and WNLI's layout: index, sentence1, sentence2, label."""
    return lambda data, _: Rows(*(_pairs(data / f"glue/{name}/{part}.tsv.xz", (1, 2), 3) for part in ("train", "dev")))


def _stsb(data: Path, _: QualitySet) -> Rows:
    return Rows(*(_scored_pairs(data / f"glue/STS-B/sts-{part}.tsv.xz", "label") for part in ("train", "dev")))


def _stsb_bi(data: Path, _: QualitySet) -> Rows:
    return Rows(*(_scored_pairs(data / f"glue/STS-B/sts-{part}.tsv.xz", "score") for part in ("train", "dev")))


def _scored_pairs(path: Path, field: str) -> list[Record]:
    return [{"text": row[5], "text_pair": row[6], field: float(row[4])} for row in _lines(path)]


def _agnews(data: Path, _: QualitySet) -> Rows:
    return Rows(*(_single(data / f"cls/agnews/{part}.tsv.xz", 0, 1, header=False) for part in ("dev", "test")))


def _banking77(data: Path, _: QualitySet) -> Rows:
    def read(part: str) -> list[Record]:
        rows = csv.DictReader(io.StringIO(_text(data / f"intent/banking77/{part}.csv.xz"), newline=""))
        return [{"text": row["text"], "label": row["category"]} for row in rows]

    return Rows(read("train"), read("test"))


def _clinc150(data: Path, _: QualitySet) -> Rows:
    parts = json.loads(_text(data / "intent/clinc150/data_full.json.xz"))
    return Rows(
        *(
            [{"text": text, "label": label} for text, label in parts[part] + parts[f"oos_{part}"]]
            for part in ("train", "test")
        )
    )


def _imdb(data: Path, _: QualitySet) -> Rows:
    def read(part: str) -> list[Record]:
        rows = (json.loads(line) for line in _text(data / f"cls/imdb/{part}.jsonl.xz").split("\n") if line)
        return [{"text": row["text"].replace("<br />", " "), "label": str(row["label"])} for row in rows]

    return Rows(read("train"), read("test"))


def _arc(data: Path, _: QualitySet) -> Rows:
    """Questions with all four choices; rows whose choices the file lost, or whose answer is a fifth, are left out."""

    def read(part: str) -> list[Record]:
        records = []
        for level in ("easy", "challenge"):
            text = _text(data / f"multiple_choice/arc_{level}_{part}.csv.xz")
            for question, *choices, letter in csv.reader(io.StringIO(text, newline="")):
                if all(choices) and letter in "ABCD":
                    records.append({"question": question, "choices": choices, "label": "ABCD".index(letter)})
        return records

    return Rows(read("dev"), read("test"))


def _conll(data: Path, quality: QualitySet) -> Rows:
    folder = data / "ner/conll2003_en"
    return Rows(*(_sentences(folder / f"{part}.txt.xz", quality.context_tokens) for part in ("train", "test")))


def _sentences(path: Path, num_context_words: int) -> list[Record]:
    """A record a sentence; with context, the words of the document that stand before and after it."""
    records = []
    for document in _text(path).split("-DOCSTART- -X- -X- O\n"):
        blocks = [[line.split() for line in block.splitlines()] for block in document.strip().split("\n\n") if block]
        words = [[row[0] for row in block] for block in blocks]
        for i, block in enumerate(blocks):
            record: Record = {"words": words[i], "tags": [row[-1] for row in block]}
            if num_context_words:
                before = [word for sentence in words[:i] for word in sentence]
                after = [word for sentence in words[i + 1 :] for word in sentence]
                record |= {"before": before[-num_context_words:], "after": after[:num_context_words]}
            records.append(record)
    return records


# --- SQuAD, and what is built from it --------------------------------------------------------------------------------


def _squad(data: Path, _: QualitySet) -> Rows:
    return Rows(
        [*_questions(data / "squad/train-v1.1.rebuilt.json.xz")], [*_questions(data / "squad/dev-v1.1.rebuilt.json.xz")]
    )


def _questions(path: Path) -> Iterator[Record]:
    for article in json.loads(_text(path))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = {
                    "text": [answer["text"] for answer in question["answers"]],
                    "answer_start": [answer["answer_start"] for answer in question["answers"]],
                }
                yield {
                    "id": question["id"],
                    "question": question["question"],
                    "context": paragraph["context"],
                    "answers": answers,
                }


def _squad2(data: Path, quality: QualitySet) -> Rows:
    """A third of the training questions are unanswerable: asked of another passage of their article."""
    articles = json.loads(_text(data / "squad/train-v1.1.rebuilt.json.xz"))["data"]
    elsewhere = {}
    rng = random.Random(SUBSET_SEED)
    for article in articles:
        passages = [paragraph["context"] for paragraph in article["paragraphs"]]
        for i, paragraph in enumerate(article["paragraphs"]):
            others = passages[:i] + passages[i + 1 :]
            for question in paragraph["qas"]:
                answer = question["answers"][0]["text"].lower()
                without = [passage for passage in others if answer not in passage.lower()]
                if without:
                    elsewhere[question["id"]] = rng.choice(without)
    size = quality.num_train or 0
    asked = _subset([*_questions(data / "squad/train-v1.1.rebuilt.json.xz")], size)
    chosen = set(rng.sample([i for i, record in enumerate(asked) if record["id"] in elsewhere], size // 3))
    train = [
        record | {"context": elsewhere[record["id"]], "answers": {"text": [], "answer_start": []}}
        if i in chosen
        else record
        for i, record in enumerate(asked)
    ]
    return Rows(train, [*_questions(data / "squad/dev-v2.0.rebuilt.json.xz")])


def _qnli(data: Path, quality: QualitySet) -> Rows:
    """Half of the questions with the sentence that holds their answer, half with another of the same paragraph."""
    rng = random.Random(SUBSET_SEED)
    train: list[Record] = []
    questions = _subset([*_questions(data / "squad/train-v1.1.rebuilt.json.xz")], 2 * (quality.num_train or 0))
    for record in questions:
        context, start = record["context"], record["answers"]["answer_start"][0]
        holding, others = "", []
        for first, last in split_sentences(context):
            if first <= start < last:
                holding = context[first:last]
            else:
                others.append(context[first:last])
        if not holding or not others:
            continue
        entails = len(train) % 2 == 0
        train.append(
            {
                "text": record["question"],
                "text_pair": holding if entails else rng.choice(others),
                "label": "entailment" if entails else "not_entailment",
            }
        )
    return Rows(train, _pairs(data / "glue/QNLI/dev.tsv.xz", (1, 2), 3))


READERS: dict[str, Callable[[Path, QualitySet], Rows]] = {
    "sst2": _sst2,
    "cola": _cola,
    "mrpc": _mrpc,
    "mrpc-random": _mrpc,
    "stsb": _stsb,
    "stsb-bi": _stsb_bi,
    "rte": _glue_pairs("RTE"),
    "wnli": _glue_pairs("WNLI"),
    "qnli": _qnli,
    "squad": _squad,
    "squad-whole": _squad,
    "squad2": _squad2,
    "conll2003": _conll,
    "conll2003-context": _conll,
    "agnews": _agnews,
    "banking77": _banking77,
    "clinc150": _clinc150,
    "imdb": _imdb,
    "imdb-windows": _imdb,
    "arc": _arc,
}
