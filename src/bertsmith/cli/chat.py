"""`bertsmith chat`: a conversation with an assistant, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bertsmith.assistant.dialogue import Reply
from bertsmith.cli.options import verb
from bertsmith.cli.output import Output
from bertsmith.recipes.chat import ChatSettings, open_assistant

PROMPT = "you: "


@verb("assistant", "message")
def run(settings: ChatSettings, output: Output) -> dict[str, Any]:
    """Talk with an assistant; an empty line or the end of the input ends it."""
    assistant = open_assistant(
        settings.assistant,
        no_transcripts=settings.no_transcripts,
        device=settings.device,
        progress=output.progress,
    )
    conversation = settings.conversation
    replies: list[Reply] = []
    for message in settings.message or _typed():
        reply = assistant.reply(conversation, message)
        conversation = reply.conversation
        replies.append(reply)
        for line in _shown(message if settings.message else None, reply):
            output.say(line)
    return {"conversation": conversation, "replies": [asdict(reply) for reply in replies]}


def _typed() -> Iterator[str]:
    """Lines from the terminal, or from a pipe."""
    while True:
        if sys.stdin.isatty():
            print(PROMPT, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()


def _shown(message: str | None, reply: Reply) -> Iterator[str]:
    if message is not None:
        yield f"{PROMPT}{message}"
    yield f"assistant: {reply.text}"
    facts = [reply.kind, f"{reply.score:.2f}"]
    if reply.intent is not None:
        facts.append(f"intent {reply.intent}")
    if reply.citation is not None:
        facts.append(f"{reply.citation.document}, characters {reply.citation.start} to {reply.citation.end}")
    yield f"           ({', '.join(facts)})"
