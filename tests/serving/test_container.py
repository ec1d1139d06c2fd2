"""The Containerfile as far as it can be tried without a container engine: its form, and its steps in a clean root."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from containerfile import Instruction, read_containerfile
from toy_models import toy_bert, toy_classifier, toy_reviews

ROOT = Path(__file__).resolve().parents[2]
CONTAINERFILE = ROOT / "Containerfile"
NOBODY = 65534

if not CONTAINERFILE.is_file():
    pytest.skip("the sources are not here", allow_module_level=True)

BUILD, FINAL = read_containerfile(CONTAINERFILE)


def named(stage: Sequence[Instruction], name: str) -> list[Instruction]:
    return [instruction for instruction in stage if instruction.name == name]


def the(stage: Sequence[Instruction], name: str) -> Instruction:
    (instruction,) = named(stage, name)
    return instruction


def test_base_images_have_a_tag_that_stays() -> None:
    for stage in (BUILD, FINAL):
        image = the(stage, "FROM").words[0]
        assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim", image)


def test_what_is_copied_is_there_and_nothing_else_of_the_tree() -> None:
    sources = [word for copied in named(BUILD, "COPY") for word in copied.words[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    assert [copied.text for copied in named(FINAL, "COPY")] == [
        "--from=build /opt/bertsmith /opt/bertsmith",
        "${MODEL} /model",
    ]
    assert not any(named(stage, "ADD") for stage in (BUILD, FINAL))


def test_package_lists_do_not_stay() -> None:
    installs = [run.text for stage in (BUILD, FINAL) for run in named(stage, "RUN") if "apt-get" in run.text]
    assert len(installs) == 2
    for text in installs:
        assert "--no-install-recommends" in text
        assert text.endswith("rm -rf /var/lib/apt/lists/*")


def test_packages_are_those_that_the_tests_run_with() -> None:
    (install,) = [run.text for run in named(BUILD, "RUN") if "pip install" in run.text]
    assert "--constraint constraints.txt" in install
    assert '".[serve]"' in install


def test_it_runs_as_a_user_without_rights() -> None:
    assert int(the(FINAL, "USER").text) > 1000
    assert FINAL.index(the(FINAL, "USER")) > max(FINAL.index(run) for run in named(FINAL, "RUN"))


def test_ports_agree_and_the_server_is_the_process() -> None:
    port = the(FINAL, "EXPOSE").text
    command = the(FINAL, "CMD").exec_form
    assert command[:3] == ["bertsmith", "serve", "/model"]
    assert command[command.index("--port") + 1] == port
    assert f"127.0.0.1:{port}/readyz" in the(FINAL, "HEALTHCHECK").exec_form[-1]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with what the image has under /opt and /model, made by the file's own steps."""
    root = tmp_path_factory.mktemp("image")
    source = root / "source"
    for copied in named(BUILD, "COPY"):
        *names, place = copied.words
        for name in names:
            (source / place).mkdir(parents=True, exist_ok=True) if place == "./" else None
            target = source / (name if place == "./" else place)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", "_native.so"))
            else:
                shutil.copy(ROOT / name, target)
    for run in named(BUILD, "RUN"):
        if "apt-get" not in run.text:
            text = run.text.replace("/opt/bertsmith", str(root / "opt/bertsmith"))
            text = text.replace("python -m venv", f"{sys.executable} -m venv")
            done = subprocess.run(["sh", "-c", text], cwd=source, capture_output=True, text=True, timeout=900)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    shutil.rmtree(source)
    train = toy_reviews(root / "train.csv", 40, seed=0)
    toy_classifier(root / "model", train, model=str(toy_bert(root / "bert")), max_steps=2)
    for folder in [root, *root.parents]:
        if folder.is_relative_to(root.parent.parent) and os.geteuid() == 0:
            folder.chmod(0o755)
    return root


def environment(root: Path) -> dict[str, str]:
    words = (
        the(FINAL, "ENV")
        .text.replace("/opt/bertsmith", str(root / "opt/bertsmith"))
        .replace("$PATH", os.environ["PATH"])
    )
    return dict(word.split("=", 1) for word in words.split()) | {"OMP_NUM_THREADS": "1"}


def isolated() -> list[str]:
    """How to run without a network beside the own loopback, and without rights; nothing where that is not allowed."""
    if os.geteuid() or not all(map(shutil.which, ("unshare", "ip", "setpriv"))):
        return []
    drop = f'exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --no-new-privs -- "$@"'
    words = ["unshare", "--net", "sh", "-c", f"ip link set lo up && {drop}", "sh"]
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


@contextmanager
def running(root: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    changed = {"/model": str(root / "model"), "0.0.0.0": "127.0.0.1", "8000": str(port)}
    command = [changed.get(word, word) for word in the(FINAL, "CMD").exec_form]
    command[0] = str(root / "opt/bertsmith/bin" / command[0])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*isolated(), *command], env=environment(root), cwd="/", stdout=output, stderr=output
        )
        try:
            yield process, port
        finally:
            process.kill()
            process.wait()


def inside(process: subprocess.Popen[bytes], words: Sequence[str], root: Path) -> subprocess.CompletedProcess[str]:
    """A command where the server is."""
    enter = ["nsenter", "--target", str(process.pid), "--net"] if isolated() else []
    return subprocess.run([*enter, *words], env=environment(root), capture_output=True, text=True, timeout=30)


@pytest.mark.slow
@pytest.mark.skipif(
    "BERTSMITH_IMAGE_TEST" not in os.environ, reason="installs PyTorch anew: set BERTSMITH_IMAGE_TEST=1"
)
def test_the_steps_in_a_clean_root_give_a_server_that_is_healthy_and_answers(image: Path, tmp_path: Path) -> None:
    with running(image, tmp_path / "log") as (process, port):
        check = [word.replace("8000", str(port)) for word in the(FINAL, "HEALTHCHECK").exec_form]
        check[0] = str(image / "opt/bertsmith/bin" / check[0])
        until = time.monotonic() + 60
        while inside(process, check, image).returncode != 0:
            assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
            assert time.monotonic() < until
            time.sleep(0.5)
        body = json.dumps({"inputs": ["ba be bi", "la le"]})
        ask = (
            "import sys, urllib.request; request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), "
            "{'Content-Type': 'application/json'}); print(urllib.request.urlopen(request).read().decode())"
        )
        asked = inside(process, [check[0], "-c", ask, f"http://127.0.0.1:{port}/v1/models/model/predict", body], image)
        assert asked.returncode == 0, asked.stderr
        answer: dict[str, Any] = json.loads(asked.stdout)
        assert [prediction["label"] in ("bad", "good") for prediction in answer["predictions"]] == [True, True]
        status = Path(f"/proc/{process.pid}/status").read_text()
        if isolated():
            assert f"Uid:\t{NOBODY}" in status
        process.terminate()
        assert process.wait(30) == 0
