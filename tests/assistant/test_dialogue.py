"""Who replies: intents, earlier questions, documents, written replies, or nobody; and what is kept."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from toy_models import toy_bert
from toy_search import toy_encoder
from toys import toy_config, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.assistant.dialogue import Assistant, DialogueSettings, Reply, Turn
from bertsmith.assistant.transcripts import MOST_TURNS, RememberedTranscripts, TranscriptFile
from bertsmith.data.batch import Truncation
from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.files import sha256
from bertsmith.inference.predictor import Predictor, load
from bertsmith.inference.together import with_settings
from bertsmith.model.safe_weights import WEIGHTS
from bertsmith.recipes.chat import open_assistant
from bertsmith.recipes.finetune import finetune, finetune_settings
from bertsmith.search.answer import Answerer, AnswerRule
from bertsmith.search.documents import Document
from bertsmith.search.index import Index
from bertsmith.search.provenance import Provenance
from bertsmith.search.searcher import open_index
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings

TRAINING = {
    "max_steps": 60,
    "per_device_train_batch_size": 8,
    "learning_rate": 5e-3,
    "precision": "fp32",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def intents(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """Words with b want a refund, those with d a delivery, those with n nothing that is known."""
    folder = tmp_path_factory.mktemp("intents")
    labels = {"b": "refund", "d": "delivery", "n": "oos"}
    lines = [
        f"{first}a {first}{vowel} {first}{other},{label}"
        for first, label in labels.items()
        for vowel in "aeiou"
        for other in "aeiou"
    ]
    (folder / "train.csv").write_text("text,label\n" + "\n".join(lines * 2) + "\n")
    values = {
        "train_file": folder / "train.csv",
        "output_dir": folder / "model",
        "model": str(bert),
        "training": TRAINING,
    }
    finetune("classification", finetune_settings("classification").of(values))
    return folder / "model"


@pytest.fixture(scope="module")
def selector(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """After a user's word with f the reply is `ga`; after a first turn with k as well it is `la`."""
    folder = tmp_path_factory.mktemp("selector")
    rows = []
    for vowel in "aeiou":
        for earlier in "aeiou":
            rows += [
                f'{{"query": ["f{vowel}"], "passages": ["ga", "la"], "labels": [1, 0]}}',
                f'{{"query": ["k{earlier}", "mi", "f{vowel}"], "passages": ["ga", "la"], "labels": [0, 1]}}',
            ]
    (folder / "train.jsonl").write_text("\n".join(rows * 2) + "\n")
    values = {
        "train_file": folder / "train.jsonl",
        "output_dir": folder / "model",
        "model": str(bert),
        "training": {**TRAINING, "max_steps": 150},
    }
    finetune("reranking", finetune_settings("reranking").of(values))
    return folder / "model"


def test_an_intent_gets_its_reply_and_what_is_out_of_scope_a_person(intents: Path) -> None:
    replies = {"refund": "money back", "delivery": "on its way"}
    assistant = Assistant(RememberedTranscripts(), DialogueSettings(), load(intents), replies)
    for text, expected in (("be bi bo", "money back"), ("du da de", "on its way")):
        reply = assistant.reply(None, text)
        assert (reply.text, reply.kind) == (expected, "intent")
        assert reply.score > 0.7
    unknown = assistant.reply(None, "na ne ni")
    assert (unknown.kind, unknown.intent) == ("handover", "oos")
    assert unknown.text == DialogueSettings().handover_text


def test_who_took_part_in_a_reply_and_what_was_cut_of_the_message_is_told(intents: Path, selector: Path) -> None:
    short = with_settings(load(intents), max_length=8, truncation="head")
    assistant = Assistant(
        RememberedTranscripts(), intents=short, replies={"refund": "x"}, selector=load(selector), candidates=("ga",)
    )
    weights = {"intents": sha256(intents / WEIGHTS), "selector": sha256(selector / WEIGHTS)}
    told = Provenance()
    assert assistant.reply(None, "be bi bo " * 4, told).kind == "intent"
    # Of 12 pieces and 2 special tokens, 8 are read.
    assert told == Provenance({"intents": weights["intents"]}, Truncation(1, 1, 6))
    told = Provenance()
    assistant.reply(None, "na ne", told)
    assert told == Provenance(weights)
    with pytest.warns(UserWarning, match="6 tokens were cut"):
        assistant.reply(None, "be bi bo " * 4)


def test_an_unsure_intent_is_passed_on(intents: Path) -> None:
    settings = DialogueSettings(intent_threshold=1.0)
    assistant = Assistant(RememberedTranscripts(), settings, load(intents), {"refund": "money back"})
    reply = assistant.reply(None, "be da")
    assert reply.kind == "handover"
    assert 0 < reply.score < 1


def test_a_question_that_was_answered_before_and_one_for_the_documents(tmp_path: Path) -> None:
    encoder = toy_encoder()
    faq = Index.create(tmp_path / "faq", toy_tokenizer(), encoder)
    faq.upsert([Document("1", "ba be bi", "", {"answer": "after a week"})], encoder)
    documents = Index.create(tmp_path / "documents", toy_tokenizer(), encoder)
    documents.upsert([Document("d", "Fa fe fi. Fo fu.")], encoder)
    torch.manual_seed(0)
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=32))
    network = task.build(toy_config(initializer_range=0.5)).eval()
    reader = Predictor(task, network, toy_tokenizer(), "fp32", sha256="the reader's")
    answerer = Answerer(open_index(tmp_path / "documents", encoder=encoder), reader, AnswerRule(threshold=0.0))
    settings = DialogueSettings(faq_threshold=0.999)
    transcripts = TranscriptFile(tmp_path / "talk.sqlite")
    assistant = Assistant(
        transcripts,
        settings,
        faq=open_index(tmp_path / "faq", encoder=encoder),
        answerer=answerer,
    )
    same = assistant.reply(None, "ba be bi")
    assert (same.text, same.kind, round(same.score, 3)) == ("after a week", "faq", 1.0)
    told = Provenance()
    other = assistant.reply(None, "fo fu", told)
    assert other.kind == "answer"
    assert told.models == {"faq": "its weights", "encoder": "its weights", "reader": "the reader's"}
    assert other.citation is not None
    assert other.text == "Fa fe fi. Fo fu."[other.citation.start : other.citation.end]
    assert transcripts.turns(same.conversation)[1].facts["citation"] is None
    assert transcripts.turns(other.conversation)[1].facts["citation"] == asdict(other.citation)


def test_turns_before_change_the_reply(selector: Path) -> None:
    assistant = Assistant(
        RememberedTranscripts(), DialogueSettings(reply_threshold=0.5), selector=load(selector), candidates=("ga", "la")
    )
    first = assistant.reply(None, "fa")
    assert (first.text, first.kind) == ("ga", "reply")
    transcripts = RememberedTranscripts()
    transcripts.add("c", [Turn("user", "ke"), Turn("agent", "mi")])
    assistant = Assistant(
        transcripts, DialogueSettings(reply_threshold=0.5), selector=load(selector), candidates=("ga", "la")
    )
    assert assistant.reply("c", "fa").text == "la"
    assert [turn.text for turn in transcripts.turns("c")] == ["ke", "mi", "fa", "la"]


def test_an_empty_message_is_refused() -> None:
    with pytest.raises(DataError, match="empty message"):
        Assistant(RememberedTranscripts()).reply(None, " ")


def test_an_assistant_is_read_from_its_file(tmp_path: Path, intents: Path) -> None:
    path = tmp_path / "assistant.toml"
    path.write_text(f'intents = "{intents}"\ntranscripts = "talk.sqlite"\n[replies]\nrefund = "money back"\n')
    reply = open_assistant(path).reply("c", "be bi bo")
    assert reply == Reply("money back", "intent", reply.score, "c", "refund")
    kept = TranscriptFile(tmp_path / "talk.sqlite").turns("c")
    assert [(turn.speaker, turn.text) for turn in kept] == [("user", "be bi bo"), ("agent", "money back")]
    assert kept[1].facts["kind"] == "intent"
    assert open_assistant(path, no_transcripts=True).transcripts.turns("c") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing that could reply"),
        ('[replies]\nrefund = "x"', "need a model that tells them"),
        ('intents = "{intents}"\n[replies]\nrefunds = "x"', "knows no intent 'refunds'"),
        ('selector = "{intents}"', "a model for reranking is expected"),
        ('intent = "{intents}"', "did you mean 'intents'"),
        ('faq = "nowhere"', "no index there"),
    ],
)
def test_parts_that_do_not_go_together_are_told(tmp_path: Path, intents: Path, text: str, message: str) -> None:
    path = tmp_path / "assistant.toml"
    path.write_text(text.replace("{intents}", str(intents)))
    with pytest.raises((SettingsError, FileFormatError), match=message):
        open_assistant(path)
    with pytest.raises(SettingsError, match="no such file"):
        open_assistant(tmp_path / "other.toml")


WRITER = """
import sys, pathlib
from bertsmith.assistant.dialogue import Turn
from bertsmith.assistant.transcripts import TranscriptFile
file = TranscriptFile(pathlib.Path(sys.argv[1]))
number = 0
while True:
    file.add("c", [Turn("user", f"question {number}"), Turn("agent", f"answer {number}")])
    print(number, flush=True)
    number += 1
"""


def test_what_was_said_is_whole_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "talk.sqlite"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(20)]
    process.kill()
    process.wait()
    turns = TranscriptFile(path).turns("c")
    assert len(turns) >= 2 * len(said)
    assert len(turns) % 2 == 0
    assert [turn.text for turn in turns[:4]] == ["question 0", "answer 0", "question 1", "answer 1"]


@pytest.mark.parametrize("kept", [True, False])
def test_the_last_turns_are_read_in_their_order(tmp_path: Path, kept: bool) -> None:
    transcripts = TranscriptFile(tmp_path / "talk.sqlite") if kept else RememberedTranscripts()
    for number in range(150):
        transcripts.add("c", [Turn("user", f"q{number}"), Turn("agent", f"a{number}")])
    transcripts.add("other", [Turn("user", "x")])
    assert [turn.text for turn in transcripts.turns("c", 3)] == ["a148", "q149", "a149"]
    assert transcripts.turns("c", 0) == transcripts.turns("nobody", 3) == []
    assert [turn.text for turn in transcripts.turns("other", 3)] == ["x"]
    assert len(transcripts.turns("c")) == (300 if kept else MOST_TURNS)


def test_what_is_remembered_is_bounded_whoever_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertsmith.assistant.transcripts.MOST_CHARACTERS", 1_000)
    transcripts = RememberedTranscripts()
    for number in range(20):
        transcripts.add(f"c{number}", [Turn("user", "x" * 99), Turn("agent", "y")])
    assert [len(transcripts.turns(f"c{number}")) for number in range(20)] == 10 * [0] + 10 * [2]
    transcripts.add("long", [Turn("user", "x" * 5_000)])
    assert len(transcripts.turns("long")) == 1
    assert transcripts.turns("c19") == []


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "talk.sqlite"
    transcripts = TranscriptFile(path)
    transcripts.add("c", [Turn("user", "x" * 1000)] * 100)
    transcripts.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 :] = b"\xff" * len(content[3 * 4096 :])
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"cannot be read|not a file of transcripts"):
        TranscriptFile(path).turns("c")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("not a database" * 100)
    (tmp_path / "folder").mkdir()
    for name in ("x", "folder"):
        with pytest.raises(FileFormatError, match="not a file of transcripts"):
            TranscriptFile(tmp_path / name)


def test_a_file_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """As they were before places were kept with answers."""
    path = tmp_path / "talk.sqlite"
    earlier = sqlite3.connect(path)
    earlier.executescript(
        "CREATE TABLE turns (number INTEGER PRIMARY KEY, conversation TEXT NOT NULL, time TEXT NOT NULL, "
        "speaker TEXT NOT NULL, text TEXT NOT NULL, facts TEXT NOT NULL);"
        "INSERT INTO turns VALUES (1, 'c', '2026-11-01T00:00:00.000+00:00', 'agent', 'a week', "
        """'{"kind": "answer", "score": 0.9, "intent": null}');"""
    )
    earlier.close()
    transcripts = TranscriptFile(path)
    (turn,) = transcripts.turns("c")
    assert turn == Turn("agent", "a week", {"kind": "answer", "score": 0.9, "intent": None})
    transcripts.add("c", [Turn("agent", "two", {"citation": {"document": "d", "start": 0, "end": 3}})])
    assert transcripts.turns("c")[1].facts["citation"]["end"] == 3


def test_a_saved_reader_is_found_beside_the_file(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "docs", toy_tokenizer())
    index.upsert([Document("d", "Fa fe fi. Fo fu.")])
    index.close()
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=32))
    save_artifact(tmp_path / "reader", Artifact(task, task.build(toy_config()), toy_tokenizer()))
    (tmp_path / "a.toml").write_text('index = "docs"\nreader = "reader"\n')
    assert open_assistant(tmp_path / "a.toml").answerer is not None
    with pytest.raises(SettingsError, match="no reader is known"):
        open_assistant(tmp_path / "docs")
