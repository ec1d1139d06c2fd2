"""One explanation from end to end: a predictor and a request to scores of words, with what they can be believed for.

An explainer is a function of a `Subject` and one row in `EXPLAINERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import Field

from bertsmith.errors import SettingsError, nearest
from bertsmith.explain.attention import AttentionMaps, attention, attention_maps, rollout
from bertsmith.explain.faithfulness import Faithfulness, faithfulness
from bertsmith.explain.gradients import Attribution, Completeness, gradient_x_input, integrated_gradients
from bertsmith.explain.occlusion import occlusion
from bertsmith.explain.subject import MAX_EXPLAINED_TOKENS, Subject
from bertsmith.explain.words import BESIDE, NamedText
from bertsmith.inference.predictor import Predictor
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.settings import Settings
from bertsmith.tasks.target import Unit


@dataclass(frozen=True, slots=True)
class Explainer:
    """does: what its scores are, a sentence for people."""

    function: Callable[[Subject, ExplainerSettings], Attribution]
    does: str


EXPLAINERS = {
    "integrated_gradients": Explainer(
        lambda subject, settings: integrated_gradients(subject, settings.max_steps),
        "What each word adds on the way from a text of [MASK]s to this one; the scores add up to the difference.",
    ),
    "gradient_x_input": Explainer(
        lambda subject, settings: gradient_x_input(subject),
        "The slope of the prediction at each word, times the word's vector.",
    ),
    "occlusion": Explainer(
        lambda subject, settings: occlusion(subject), "What the prediction loses where [MASK] stands for the word."
    ),
    "attention": Explainer(
        lambda subject, settings: attention(subject),
        "What the last layer looks at. Where a network looks is not why it decides.",
    ),
    "rollout": Explainer(
        lambda subject, settings: rollout(subject),
        "What all layers together look at. Where a network looks is not why it decides.",
    ),
}


class ExplainerSettings(Settings):
    """How a prediction is explained."""

    explainer: str = Field("integrated_gradients", description=f"one of {', '.join(EXPLAINERS)}")
    target: str | None = Field(
        None, description="what to explain, as docs/explaining.md has it for each task; None: what was predicted"
    )
    max_steps: int = Field(256, ge=1, le=4096, description="of the integral of integrated_gradients, at most")
    max_explained_tokens: int = Field(
        MAX_EXPLAINED_TOKENS, ge=1, description="of the windows that the answer comes from; more are refused"
    )
    num_random: int = Field(10, ge=0, le=1000, description="random orders of words to compare the explanation with")
    seed: int = Field(0, ge=0, description="of those")


@dataclass(frozen=True, slots=True)
class WordScore:
    """score: what the word does for the explained number. text: the field that holds it, start and end within that."""

    word: str
    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class ExplainedTarget:
    """value: the number, in `unit`. probability: what it stands for; None of a score that stands for none."""

    name: str
    value: float
    unit: Unit
    probability: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """num_windows: of the request. num_explained_windows: those that the target is computed from.

    num_words: of the request, also those that no window holds. num_explained_words: of them in the explained windows.
    num_cut_tokens: in no window.
    """

    num_windows: int
    num_explained_windows: int
    num_words: int
    num_explained_words: int
    num_cut_tokens: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """words: in the order of the texts, each with its score. texts: what they stand in.

    completeness: of integrated gradients. prediction: the answer. attention: of the first explained window; None of a
    model that keeps none.
    """

    explainer: str
    task: str
    target: ExplainedTarget
    words: tuple[WordScore, ...]
    texts: tuple[NamedText, ...]
    faithfulness: Faithfulness
    completeness: Completeness | None
    coverage: Coverage
    prediction: Any
    attention: AttentionMaps | None

    def strongest_attention(self, most: int) -> AttentionMaps | None:
        """That of the words with the largest scores, at most so many, and of the special tokens."""
        if self.attention is None:
            return None
        held = self.attention.words
        strongest = sorted(range(len(held)), key=lambda place: -abs(self.words[held[place]].score))[:most]
        return self.attention.among(sorted(strongest))

    def to_dict(self, *, with_attention: bool = False) -> dict[str, Any]:
        """As JSON, without the prediction."""
        known = self.completeness and {**asdict(self.completeness), "holds": self.completeness.holds}
        held = {"verdict": self.faithfulness.verdict, "completeness": known}
        return {
            "words": [asdict(word) for word in self.words],
            "target": asdict(self.target),
            "faithfulness": asdict(self.faithfulness) | held,
            "explainer": self.explainer,
            "texts": [asdict(text) for text in self.texts],
            "coverage": asdict(self.coverage),
        } | ({"attention": self.attention and self.attention.to_dict()} if with_attention else {})


def explain(
    predictor: Predictor,
    request: Any,
    settings: ExplainerSettings | None = None,
    check: Callable[[], None] = raise_if_asked,
) -> Explanation:
    """Why the model answers a request as it does. The predictor's network has to be as it was saved, in fp32.

    check: is called between batches; what it raises ends the work. Raises `SettingsError` for an unknown explainer or
    target, `DataError` for a request that has no words, or too many tokens.
    """
    settings = settings or ExplainerSettings()
    explainer = EXPLAINERS.get(settings.explainer)
    if explainer is None:
        raise SettingsError(f"no explainer {settings.explainer!r:.80}; {nearest(settings.explainer, EXPLAINERS)}")
    subject = Subject.of(predictor, request, settings.target, max_tokens=settings.max_explained_tokens, check=check)
    return explained(subject, settings, explainer)


def explained(subject: Subject, settings: ExplainerSettings, explainer: Explainer) -> Explanation:
    """As `explain`, of what is already known to be explained."""
    found = explainer.function(subject, settings)
    held = faithfulness(subject.likelihoods, found.scores, num_random=settings.num_random, seed=settings.seed)
    words, texts, target, answered = subject.words.words, subject.words.texts, subject.target, subject.answered
    # Fields without a text are not shown, nor what was read beside the request in other windows.
    shown = {word.text for word in words}
    shown |= {n for n, text in enumerate(texts) if text.text.strip() and not text.name.startswith(BESIDE)}
    value = subject.score
    probability = None if target.unit == "score" else float(target.likelihood(np.array([value]))[0])
    return Explanation(
        settings.explainer,
        subject.predictor.task.name,
        ExplainedTarget(target.name, value, target.unit, probability),
        tuple(
            WordScore(word.word, float(score), word.start, word.end, texts[word.text].name)
            for word, score in zip(words, found.scores, strict=True)
        ),
        tuple(text for number, text in enumerate(texts) if number in shown),
        held,
        found.completeness,
        Coverage(
            len(answered.windows),
            len(target.windows),
            subject.num_request_words,
            len(words),
            sum(window.num_cut_tokens for window in answered.windows),
        ),
        answered.prediction,
        attention_maps(subject) if subject.has_attention else None,
    )
