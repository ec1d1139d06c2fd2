"""The program as it is started: exit codes, what goes where, and how little it imports before it must."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bertsmith import __version__
from bertsmith.cli.main import VERBS, main


def test_help_names_every_verb_and_imports_no_torch() -> None:
    code = (
        "import sys; from bertsmith.cli.main import main; code = main(['--help']);"
        "print([name for name in ('torch', 'numpy', 'tokenizers', 'pyarrow') if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[] 0\n")
    assert all(f" {name.split()[0]} " in done.stdout for name in VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    captured = capsys.readouterr()
    assert VERBS[name][1].split()[0] in captured.out
    assert captured.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_no_arguments_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: bertsmith" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["infi"], "no verb 'infi'; did you mean 'info'?\ntry: bertsmith --help"),
        (["tokenizer", "trian"], "no verb 'trian'; did you mean 'train'?\ntry: bertsmith tokenizer --help"),
        (["info", "--jsn"], "Unknown option: --jsn. Did you mean --json?\ntry: bertsmith info --help"),
        (["info", "--set", "foldr=x"], "unknown setting 'foldr'; did you mean 'folder'?"),
    ],
)
def test_usage_errors_are_2(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""


def test_input_errors_are_1_and_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "absent"), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"error: {tmp_path / 'absent'}: no such folder\n"
    assert captured.out == ""


def test_an_operating_system_error_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("a\n", encoding="utf-8")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    where = tmp_path / "file" / "corpus"
    assert main(["prepare", str(tmp_path / "a.txt"), "--tokenizer", str(tmp_path), "--output-dir", str(where)]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize("by_option", [True, False])
def test_debug_shows_where(
    by_option: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BERTSMITH_DEBUG", "0" if by_option else "1")
    assert main(["info", str(tmp_path / "absent"), *(["--debug"] if by_option else [])]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_json_is_one_document_and_people_are_told_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["versions"]["bertsmith"] == __version__
    assert "versions.torch\t" in captured.err


@pytest.mark.skipif(sys.platform != "linux", reason="names of files that are no text")
def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("a b a b\n", encoding="utf-8")
    folder = str(tmp_path / "\udcff")
    assert main(["tokenizer", "train", str(tmp_path / "a.txt"), "--output-dir", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output_dir"] == folder


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")
def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bertsmith", "--version"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")
def test_ctrl_c_is_130(tmp_path: Path) -> None:
    # The program waits for its settings from a pipe; opening the other end waits until it does.
    pipe = tmp_path / "settings.toml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "bertsmith", "info", "--settings", str(pipe)]
    # A shell that starts the tests in the background makes them, and what they start, deaf to Ctrl-C.
    listening = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listening) as process:
        with pipe.open("wb"):
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
        assert process.stderr is not None
        assert process.stderr.read() == "interrupted\n"
