"""Reads a Containerfile: its instructions, stage by stage, as the format's reference describes them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

NAMES = """
    ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR
"""
INSTRUCTIONS = frozenset(NAMES.split())


@dataclass(frozen=True)
class Instruction:
    """words: of what follows the name; line: where it begins, from 1."""

    name: str
    text: str
    line: int

    @property
    def words(self) -> list[str]:
        return self.text.split()

    @property
    def exec_form(self) -> list[str]:
        """The words of a JSON list; of a health check, that of its command."""
        found: list[str] = json.loads(self.text[self.text.index("[") :])
        return found


def read_containerfile(path: Path) -> list[list[Instruction]]:
    """The instructions of each stage, its FROM first; comments are left out, continued lines joined."""
    stages: list[list[Instruction]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        start, text = number, ""
        while True:
            line = lines[number]
            number += 1
            if line.lstrip().startswith("#"):
                line = ""
            continued = line.endswith("\\")
            text += line.removesuffix("\\") + " " * continued
            if not (continued and number < len(lines)):
                break
        if not text.strip():
            continue
        name, _, rest = text.strip().partition(" ")
        assert name in INSTRUCTIONS, f"line {start + 1}: no instruction {name!r}"
        if name == "FROM":
            stages.append([])
        assert stages or name == "ARG", f"line {start + 1}: {name} before FROM"
        stages[-1].append(Instruction(name, re.sub(r"\s+", " ", rest).strip(), start + 1))
    return stages
