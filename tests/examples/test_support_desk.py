"""The support desk's texts agree with each other, and its page's commands run as they stand."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import measure_search
import pytest
import torch
from page_commands import commands

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.assistant.transcripts import TranscriptFile
from bertsmith.cli.main import main
from bertsmith.data.readers import read_table
from bertsmith.errors import DataError
from bertsmith.model.presets import preset
from bertsmith.search.searcher import open_index
from bertsmith.tasks.embedding import Embedding
from bertsmith.tasks.question_answering import QuestionAnswering, QuestionAnsweringSettings
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece

DESK = Path(measure_search.__file__).parent
FILES = ("intents", "intents-test")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder whose vocabulary is that of the documents."""
    torch.manual_seed(0)
    tokenizer = learn_wordpiece(sorted(DESK.glob("documents/*.md")), WordPieceSettings(vocab_size=1000)).tokenizer()
    task = Embedding().within(128)
    shape = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 128}
    folder = tmp_path_factory.mktemp("model")
    config = preset("tiny", vocab_size=tokenizer.vocab_size, **shape)
    save_artifact(folder, Artifact(task, task.build(config), tokenizer))
    return folder


def save_reader(model: Path, folder: Path) -> None:
    """An untrained one."""
    encoder = load_artifact(model)
    task = QuestionAnswering(QuestionAnsweringSettings(max_length=128, allow_no_answer=True))
    save_artifact(folder, Artifact(task, task.build(encoder.network.config), encoder.tokenizer))


def test_answers_stand_in_their_documents() -> None:
    rows = [row.values for row in read_table(DESK / "questions.csv")]
    answered = [row for row in rows if row["document"]]
    assert len(answered) == 15 == len(rows) - 3
    for row in answered:
        text = " ".join((DESK / "documents" / row["document"]).read_text(encoding="utf-8").split())
        assert row["answer"] in text, row


def test_intents_are_the_same_and_their_texts_are_not() -> None:
    train, test = ({r.values["text"]: r.values["label"] for r in read_table(DESK / f"{name}.csv")} for name in FILES)
    assert set(train.values()) == set(test.values())
    assert not {*map(str.lower, train)} & {*map(str.lower, test)}
    assert "oos" in set(train.values())


def test_the_commands_of_the_readme(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a small model for MiniLM and few steps; words alone find what vectors of an untrained model do not."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DESK, tmp_path / "examples" / "support_desk")  # whose settings name folders beside them
    for command in commands(DESK / "README.md"):
        words = shlex.split(command.replace("$MODEL", str(model)))
        if words[1] == "ask":
            save_reader(model, tmp_path / "runs" / "reader")
        if words[0] == "bertsmith":
            assert main([*words[1:], *(["--max-steps", "3"] if words[1] == "finetune" else [])]) == 0, command
        else:
            measure_search.main(words[2:])
    said = capsys.readouterr().out
    assert "15 questions" in said
    assert "Yes, of 20, 50 and 100 euros. They never expire." in said, "chat knows the faq"
    turns = TranscriptFile(tmp_path / "runs" / "talk.sqlite").turns("desk")
    assert [turn.speaker for turn in turns] == ["user", "agent"] * 4
    assert turns[3].facts["kind"] == "faq"
    assert "| bm25 | " in said
    found = measure_search.measured(
        open_index(tmp_path / "runs/desk"), measure_search.read_questions(DESK / "questions.csv"), "bm25"
    )
    assert found.first.value > 0.7
    assert found.among_three.value > 0.85


def test_questions_without_an_answer_alone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "questions.csv").write_text("question,document\nWhy?,\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"questions.csv: no row with a question and the document"):
        measure_search.read_questions(tmp_path / "questions.csv")
