"""What a quickstart found, as plain records: the page draws them, `report.json` holds them. Computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from bertsmith.evaluation.compare import Comparison
from bertsmith.evaluation.intervals import Interval
from bertsmith.text.wordpiece import VocabularyReport

PRETRAINED, UNTRAINED = "BERT", "BERT without pre-training"
TFIDF, OVERLAP = "TF-IDF + logistic regression", "TF-IDF and overlap + logistic regression"
MAJORITY = "majority"


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """What the documentation came to. Characters, documents and tokens are those of pre-training."""

    num_files: int
    num_unreadable_files: int
    num_docstrings: int
    num_duplicates: int
    num_crossing_duplicates: int
    num_characters: int
    num_documents: int
    num_sentences: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Fill:
    """A held-out sentence with a word hidden, the word, and the model's first guesses with their probabilities."""

    text: str
    hidden: str
    guesses: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class PretrainingFacts:
    """How pre-training went. losses: (step, masked tokens, sentence pairs), in nats. scores: (step, masked-token
    accuracy, sentence-pair accuracy) on documents left out of training; the last is of the model that was kept."""

    num_parameters: int
    num_steps: int
    num_tokens: int
    num_epochs: float
    tokens_per_second: float
    masked_accuracy: float
    sentence_accuracy: float
    losses: tuple[tuple[int, float, float], ...]
    scores: tuple[tuple[int, float, float], ...]
    fills: tuple[Fill, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """One model's answers on the held-out rows."""

    model: str
    accuracy: Interval
    f1_macro: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A held-out row, what BERT said of it, how sure it was, and the truth."""

    source: str
    text: str
    text_pair: str | None
    label: str
    probability: float
    truth: str


@dataclass(frozen=True, slots=True)
class QuestionFacts:
    """A question and how well it was answered. counts: rows of each label, (train, held out).

    num_modules: held-out modules, from which the intervals are drawn. baseline: the strongest one without a network,
    which `against_baseline` compares BERT with. losses: (step, with pre-training, without), the training loss in nats.
    """

    name: str
    title: str
    explanation: str
    counts: dict[str, tuple[int, int]]
    num_modules: int
    num_steps: int
    num_epochs: float
    num_cut_rows: int
    scores: tuple[Score, ...]
    baseline: str
    against_baseline: Comparison
    against_untrained: Comparison
    losses: tuple[tuple[int, float, float], ...]
    right: tuple[Verdict, ...]
    wrong: tuple[Verdict, ...]

    def score(self, model: str) -> Score:
        return next(score for score in self.scores if score.model == model)


@dataclass(frozen=True, slots=True)
class QuickstartReport:
    """Everything; `report` is the page's path. seconds: time of each stage, in order."""

    output_dir: str
    report: str
    corpus: CorpusFacts
    vocabulary: VocabularyReport
    network: str
    pretraining: PretrainingFacts
    questions: tuple[QuestionFacts, ...]
    seconds: dict[str, float]
    precision: str
    num_threads: int
    versions: dict[str, str]

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


def winner(question: QuestionFacts) -> str:
    """One sentence on BERT against the strongest baseline, which does not spare BERT."""
    ours, theirs = question.score(PRETRAINED).accuracy.value, question.score(question.baseline).accuracy.value
    both = f"BERT is right on {ours:.1%} of the held-out rows, {question.baseline} on {theirs:.1%}"
    difference = _points(question.against_baseline.difference)
    match question.against_baseline.verdict:
        case "better":
            return f"{question.title}: BERT wins. {both}: {difference}."
        case "worse":
            return f"{question.title}: TF-IDF wins. {both}: {difference}."
    ahead = "BERT" if ours > theirs else "TF-IDF" if theirs > ours else "neither"
    return f"{question.title}: too close to call, {ahead} ahead. {both}: {difference}."


def worth_of_pretraining(question: QuestionFacts) -> str:
    """One sentence on the same network, fine-tuned by the same steps, with and without pre-training."""
    comparison = question.against_untrained
    without = question.score(UNTRAINED).accuracy.value
    what = {
        "better": "Pre-training paid",
        "worse": "Pre-training did harm",
        "no difference shown": "Pre-training made no difference that can be shown",
    }[comparison.verdict]
    return (
        f"{what}: without it the same network, fine-tuned by the same steps, is right on {without:.1%}, a difference "
        f"of {_points(comparison.difference)}."
    )


def _points(difference: Interval) -> str:
    value, low, high = (100 * number for number in (difference.value, difference.low, difference.high))
    return f"{value:+.1f} points (95% interval {low:+.1f} to {high:+.1f})"
