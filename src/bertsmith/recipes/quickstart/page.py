"""The quickstart's page: what was read, learned and answered, with what it does not show. Draws, computes nothing."""

from __future__ import annotations

from bertsmith.evaluation.intervals import Interval
from bertsmith.evaluation.plots import Bar, Line, bars, curves
from bertsmith.evaluation.report import (
    Example,
    Markup,
    Page,
    Tone,
    bullets,
    callout,
    examples,
    figure,
    paragraph,
    side_by_side,
    table,
    tiles,
)
from bertsmith.recipes.quickstart.results import (
    MAJORITY,
    OVERLAP,
    PRETRAINED,
    TFIDF,
    UNTRAINED,
    Fill,
    QuestionFacts,
    QuickstartReport,
    Verdict,
    winner,
    worth_of_pretraining,
)
from bertsmith.runtime.progress import duration

SERIES = {PRETRAINED: 0, UNTRAINED: 1, OVERLAP: 2, TFIDF: 3, MAJORITY: 4}
TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "no difference shown": "plain"}


def page(report: QuickstartReport) -> Page:
    """The page of a report."""
    made = Page(
        "A small BERT, from text to answers",
        f"Learned in {duration(report.total_seconds)} on this machine from the documentation inside Python "
        f"{report.versions['python']}, with no download.",
    )
    made.section("In short", *_in_short(report))
    made.section("The text", *_the_text(report))
    made.section("Pre-training", *_pretraining(report))
    for question in report.questions:
        made.section(question.title, *_question(question))
    made.section("Time, settings, and what next", *_rest(report))
    return made


def _in_short(report: QuickstartReport) -> list[Markup]:
    sentences = [
        callout(f"{winner(question)} {worth_of_pretraining(question)}", TONES[question.against_baseline.verdict])
        for question in report.questions
    ]
    pretraining = report.pretraining
    return [
        *sentences,
        tiles(
            [
                (f"{report.corpus.num_characters / 1e6:.1f} M", "characters of text to pre-train on"),
                (f"{pretraining.num_parameters / 1e6:.1f} M", f"parameters: {report.network}"),
                (f"{pretraining.masked_accuracy:.1%}", "of hidden tokens guessed, in documents left out"),
                (f"{pretraining.sentence_accuracy:.1%}", "of sentence pairs judged right, chance is 50%"),
                (duration(report.total_seconds), f"in all, {report.num_threads} threads, {report.precision}"),
            ]
        ),
    ]


def _the_text(report: QuickstartReport) -> list[Markup]:
    corpus, vocabulary = report.corpus, report.vocabulary
    return [
        paragraph(
            f"{corpus.num_docstrings:,} docstrings from {corpus.num_files:,} source files of the standard library, "
            "read without importing them, each under its signature, and the language reference. "
            f"{corpus.num_duplicates:,} repeated docstrings were dropped, {corpus.num_crossing_duplicates:,} more "
            "because their text stands in a held-out module, too"
            + (f"; {corpus.num_unreadable_files:,} files could not be read." if corpus.num_unreadable_files else ".")
        ),
        paragraph(
            "A fifth of the modules is held out by a hash of their names. Nothing of them is in the text to pre-train "
            "on, in the vocabulary or in any training row; all scores below are on them alone."
        ),
        table(
            ["what", "how much"],
            [
                ["documents to pre-train on", f"{corpus.num_documents:,}"],
                ["sentences", f"{corpus.num_sentences:,}"],
                ["tokens", f"{corpus.num_tokens:,}"],
                ["vocabulary, pieces", f"{vocabulary.num_tokens:,}"],
                ["words covered without [UNK]", f"{vocabulary.coverage:.2%}"],
                ["pieces a word", f"{vocabulary.pieces_per_word:.2f}"],
            ],
        ),
    ]


def _pretraining(report: QuickstartReport) -> list[Markup]:
    facts = report.pretraining
    steps = [step for step, _, _ in facts.losses]
    judged = [step for step, _, _ in facts.scores]
    return [
        paragraph(
            f"{facts.num_steps:,} steps over {facts.num_tokens:,} tokens ({facts.num_epochs:.1f} passes over the text, "
            f"{facts.tokens_per_second:,.0f} tokens a second): guess 15% of the tokens, and whether the second text "
            "follows the first."
        ),
        side_by_side(
            figure(
                curves(
                    [
                        Line("masked tokens", steps, [loss for _, loss, _ in facts.losses]),
                        Line("sentence pairs", steps, [loss for _, _, loss in facts.losses], series=1),
                    ],
                    title="Pre-training loss",
                    x_label="optimizer step",
                    y_label="training loss, nats",
                ),
                "Loss",
                "Mean over ten steps.",
            ),
            figure(
                curves(
                    [
                        Line("masked tokens", judged, [score for _, score, _ in facts.scores]),
                        Line("sentence pairs", judged, [score for _, _, score in facts.scores], series=1),
                        Line("chance (pairs)", judged, [0.5] * len(judged), dashed=True),
                    ],
                    title="Pre-training accuracy",
                    x_label="optimizer step",
                    y_label="accuracy",
                    percent=True,
                ),
                "Accuracy",
                "On documents left out of pre-training.",
            ),
        ),
        paragraph("Words hidden in sentences of held-out modules, drawn at random, and the first guesses:"),
        examples(_fill(fill) for fill in facts.fills),
    ]


def _fill(fill: Fill) -> Example:
    guesses = ", ".join(f"{token} {score:.0%}" for token, score in fill.guesses)
    tone: Tone = "good" if fill.guesses[0][0] == fill.hidden else "plain"
    return Example((fill.text,), (("hidden", fill.hidden), ("guesses", guesses)), tone)


def _question(question: QuestionFacts) -> list[Markup]:
    best = max(range(len(question.scores)), key=lambda place: question.scores[place].accuracy.value)
    steps = [step for step, _, _ in question.losses]
    return [
        paragraph(question.explanation),
        callout(winner(question), TONES[question.against_baseline.verdict]),
        callout(worth_of_pretraining(question), TONES[question.against_untrained.verdict]),
        side_by_side(
            figure(
                bars(
                    [
                        Bar(s.model, s.accuracy.value, s.accuracy.low, s.accuracy.high, SERIES[s.model])
                        for s in question.scores
                    ],
                    title=question.title,
                    x_label="accuracy on held-out modules",
                ),
                "Accuracy",
                f"Lines are 95% intervals: bootstrap over the {question.num_modules} held-out modules.",
            ),
            figure(
                curves(
                    [
                        Line("with pre-training", steps, [loss for _, loss, _ in question.losses]),
                        Line("without", steps, [loss for _, _, loss in question.losses], series=1),
                    ],
                    title=f"Fine-tuning loss, {question.name}",
                    x_label="optimizer step",
                    y_label="training loss, nats",
                ),
                "Fine-tuning loss",
                f"{question.num_steps:,} steps, {question.num_epochs:.1f} passes, each.",
            ),
        ),
        table(
            ["model", "accuracy", "95% interval", "macro F1"],
            [[s.model, f"{s.accuracy.value:.1%}", _span(s.accuracy), f"{s.f1_macro:.1%}"] for s in question.scores],
            emphasis=best,
        ),
        paragraph(_reading(question)),
        table(
            ["label", "training rows", "held-out rows"],
            [[n, f"{a:,}", f"{b:,}"] for n, (a, b) in question.counts.items()],
        ),
        paragraph("Answers drawn at random among the right ones and the wrong ones:"),
        examples([*map(_verdict, question.right), *map(_verdict, question.wrong)]),
    ]


def _reading(question: QuestionFacts) -> str:
    """What the table's rows are, and what was cut."""
    sentences = [
        f"BERT alone is right on {question.against_baseline.only_first:,} rows.",
        f"{question.baseline} alone is right on {question.against_baseline.only_second:,}.",
        "TF-IDF sees which words and word pairs occur.",
    ]
    if question.baseline == OVERLAP:
        sentences.append("Overlap adds hand-made features: the words that both texts hold, and how many they are.")
    if question.num_cut_rows:
        sentences.append(f"{question.num_cut_rows:,} held-out rows did not fit into the model's length and were cut.")
    return " ".join(sentences)


def _verdict(verdict: Verdict) -> Example:
    texts = (verdict.text,) if verdict.text_pair is None else (verdict.text, verdict.text_pair)
    right = verdict.label == verdict.truth
    said = ("BERT", f"{verdict.label} ({verdict.probability:.0%})")
    tags = (said,) if right else (said, ("truth", verdict.truth))
    return Example(texts, (*tags, ("from", verdict.source)), "good" if right else "bad")


def _rest(report: QuickstartReport) -> list[Markup]:
    folder = report.output_dir
    return [
        table(["stage", "time"], [[name, duration(seconds)] for name, seconds in report.seconds.items()]),
        paragraph(", ".join(f"{name} {version}" for name, version in report.versions.items()) + "."),
        bullets(
            [
                f"bertsmith fill-mask {folder}/pretrained 'Return the [MASK] of the file.'",
                f"bertsmith predict {folder}/families-pretrained --text 'Open a connection to the server.'",
                f"bertsmith evaluate {folder}/pairs-pretrained {folder}/data/pairs-held-out.csv",
                "More time learns more: bertsmith quickstart --minutes 30",
            ]
        ),
    ]


def _span(interval: Interval) -> str:
    return f"{interval.low:.1%} to {interval.high:.1%}"
