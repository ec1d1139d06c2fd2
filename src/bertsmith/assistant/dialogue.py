"""One turn of a dialogue: who can answer it does, in a fixed order, and who is not sure enough leaves it to the next.

intent     what the message wants, where a reply to that is written down
faq        a question that was answered before
answer     a span of the documents, cited
reply      the likeliest of the written replies, by a model that reads the turns so far
handover   a person
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeAlias
from uuid import uuid4

from pydantic import Field

from bertsmith.errors import DataError
from bertsmith.inference.predictor import Predictor
from bertsmith.search.answer import Answerer, Citation
from bertsmith.search.provenance import Provenance
from bertsmith.search.searcher import Searcher
from bertsmith.settings import Settings

Kind: TypeAlias = Literal["intent", "faq", "answer", "reply", "handover"]
ANSWER = "answer"
"""The fact of a document that holds the reply to the question that is its text."""


class DialogueSettings(Settings):
    """When who is sure enough. What is unsure goes to the next, at last to a person."""

    intent_threshold: float = Field(
        0.7, ge=0, le=1, description="probability of an intent from which its reply is given"
    )
    faq_threshold: float = Field(0.8, ge=-1, le=1, description="cosine from which a question is one answered before")
    reply_threshold: float = Field(0.7, ge=0, le=1, description="probability from which a written reply is chosen")
    out_of_scope: tuple[str, ...] = Field(("oos", "out_of_scope"), description="intents that nobody replies to")
    num_turns: int = Field(6, ge=1, description="of the dialogue that are read when a reply is chosen, the last ones")
    handover_text: str = Field(
        "I am not sure about that. I will pass you on to a person.", description="what is said when nobody is sure"
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """text: what is said; kind: by whom. intent: what was recognised, sure or not. score: of who replied, else of the
    best that was not sure enough. citation: where an answer stands. conversation: to go on with.
    """

    text: str
    kind: Kind
    score: float
    conversation: str
    intent: str | None = None
    citation: Citation | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """speaker: user or agent. facts: of an agent's, what is known of the `Reply` beside its text."""

    speaker: Literal["user", "agent"]
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Transcripts(Protocol):
    """Where conversations are kept."""

    def turns(self, conversation: str, last: int | None = None) -> list[Turn]: ...

    def add(self, conversation: str, turns: Sequence[Turn]) -> None: ...


@dataclass(frozen=True)
class Assistant:
    """intents: a classifier, `replies` what is said to each. faq: an index whose documents are questions with their
    answers. answerer: an index with a reader. selector: a reranker over turns, `candidates` what it chooses from.
    """

    transcripts: Transcripts
    settings: DialogueSettings = field(default_factory=DialogueSettings)
    intents: Predictor | None = None
    replies: Mapping[str, str] = field(default_factory=dict)
    faq: Searcher | None = None
    answerer: Answerer | None = None
    selector: Predictor | None = None
    candidates: tuple[str, ...] = ()

    def reply(self, conversation: str | None, text: str, provenance: Provenance | None = None) -> Reply:
        """The next turn, kept with the message before it. conversation: None begins one. Raises `DataError`.

        provenance: hears which models took part (of the faq its encoder), and what of the message was cut; None: a
        warning tells that.
        """
        if not text.strip():
            raise DataError("text: an empty message")
        known = uuid4().hex if conversation is None else conversation
        # Only who chooses among replies reads what was said before, and never all of a long conversation.
        num_read = self.settings.num_turns - 1 if self.selector is not None else 0
        before = self.transcripts.turns(known, num_read) if num_read else []
        told = Provenance() if provenance is None else provenance
        found = self._reply(known, before, text, told)
        if provenance is None:
            told.warn()
        cited = None if found.citation is None else asdict(found.citation)
        facts = {"kind": found.kind, "score": found.score, "intent": found.intent, "citation": cited}
        self.transcripts.add(known, [Turn("user", text), Turn("agent", found.text, facts)])
        return found

    def _reply(self, conversation: str, before: Sequence[Turn], text: str, provenance: Provenance) -> Reply:
        intent, intent_score = self._intent(text, provenance)
        best = intent_score
        if intent in self.replies and intent_score >= self.settings.intent_threshold:
            return Reply(self.replies[str(intent)], "intent", intent_score, conversation, intent)
        is_out = intent in self.settings.out_of_scope and intent_score >= self.settings.intent_threshold
        if self.faq is not None and not is_out:
            answer, score = self._asked_before(self.faq, text, provenance)
            if answer is not None and score >= self.settings.faq_threshold:
                return Reply(answer, "faq", score, conversation, intent)
            best = max(best, score)
        if self.answerer is not None and not is_out:
            (answered,) = self.answerer.ask([text], provenance=provenance)
            if answered.answer is not None:
                return Reply(answered.answer, "answer", answered.score, conversation, intent, answered.citation)
            best = max(best, answered.score)
        if self.selector is not None and self.candidates:
            place, score = self._chosen(self.selector, before, text)
            provenance.add("selector", self.selector)
            if score >= self.settings.reply_threshold:
                return Reply(self.candidates[place], "reply", score, conversation, intent)
            best = max(best, score)
        return Reply(self.settings.handover_text, "handover", best, conversation, intent)

    def _intent(self, text: str, provenance: Provenance) -> tuple[str | None, float]:
        if self.intents is None:
            return None, 0.0
        found = self.intents.run([self.intents.task.request(text, "text")])
        provenance.add("intents", self.intents, found.truncation)
        (prediction,) = found.predictions
        return prediction.label, float(prediction.score)

    def _asked_before(self, faq: Searcher, text: str, provenance: Provenance) -> tuple[str | None, float]:
        """The answer to the most similar question, and their cosine."""
        own = Provenance()
        (hits,) = faq.search([text], limit=1, mode="dense", rerank=False, provenance=own)
        provenance.add("faq", faq.encoder.predictor, own.truncation)
        if not hits:
            return None, 0.0
        answer = hits[0].metadata.get(ANSWER)
        return (None if answer is None else str(answer)), hits[0].score

    def _chosen(self, selector: Predictor, before: Sequence[Turn], text: str) -> tuple[int, float]:
        """The place of the likeliest of the written replies, and its probability, by the last turns."""
        said = [turn.text for turn in before]
        (prediction,) = selector.predict([{"query": (*said, text), "passages": self.candidates}])
        place = prediction.ranking[0]
        return place, float(prediction.scores[place])
