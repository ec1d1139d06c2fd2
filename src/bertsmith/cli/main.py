"""The program: the table of verbs, and what ends it. Exit codes are

0   done
1   the input or a file was at fault; the message says what, where and what to do
2   the command line or the settings were at fault
75  interrupted, state saved: run again to go on
130 interrupted by Ctrl-C
141 the reader of the output went away
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError, UnknownCommandError

from bertsmith import __version__
from bertsmith.errors import BertsmithError, SettingsError, nearest
from bertsmith.runtime.interruption import EXIT_CODE, InterruptedRunError
from bertsmith.runtime.processes import speaks

VERBS = {
    "tokenizer train": ("bertsmith.cli.tokenizer:run", "Learn a WordPiece vocabulary from text."),
    "tokenizer report": ("bertsmith.cli.tokenizer:report", "Say how a vocabulary fits the text of each language."),
    "prepare": ("bertsmith.cli.prepare:run", "Turn text into a corpus for pre-training."),
    "pretrain": ("bertsmith.cli.pretrain:run", "Pre-train a BERT on a prepared corpus."),
    "finetune": ("bertsmith.cli.finetune:app", "Fine-tune for a task, or with --dataset NAME on a public data set."),
    "sweep": ("bertsmith.cli.sweep:app", "Try settings of training runs, and keep the best."),
    "estimate": ("bertsmith.cli.estimate:app", "Say what pretrain or finetune would take, before it begins."),
    "evaluate": ("bertsmith.cli.evaluate:run", "Score a saved model on a file of examples."),
    "compare": ("bertsmith.cli.compare:run", "Compare two models on the same examples."),
    "verify": ("bertsmith.cli.verify:run", "Compute a saved model's figures again from its data."),
    "predict": ("bertsmith.cli.predict:run", "Predict for texts, or for a file of requests."),
    "explain": ("bertsmith.cli.explain:run", "Say which words made a prediction, and how far to believe it."),
    "translate": ("bertsmith.cli.generate:translate", "Translate texts with a model for seq2seq."),
    "summarize": ("bertsmith.cli.generate:summarize", "Summarize texts with a model for seq2seq."),
    "generate": ("bertsmith.cli.generate:run", "Write texts to sources, keywords or a beginning."),
    "drift": ("bertsmith.cli.drift:run", "Compare what is asked now with what a model was trained on."),
    "probe": ("bertsmith.cli.probe:run", "Say what each layer of a model knows of a task."),
    "minimal-pairs": ("bertsmith.cli.minimal_pairs:run", "Say which sentences of pairs a pre-trained model prefers."),
    "robustness": ("bertsmith.cli.robustness:run", "Say what small changes of the texts do to a model."),
    "serve": ("bertsmith.cli.serve:run", "Serve saved models over HTTP, with a page to try them."),
    "index": ("bertsmith.cli.index:run", "Put documents into an index that can be searched and asked."),
    "search": ("bertsmith.cli.search:run", "Find the passages of an index that suit a query."),
    "ask": ("bertsmith.cli.ask:run", "Answer questions from the documents of an index, with where it stands."),
    "chat": ("bertsmith.cli.chat:run", "Talk with an assistant that says when it does not know."),
    "merge": ("bertsmith.cli.merge:run", "Merge an adapter into the model that it was trained over."),
    "fill-mask": ("bertsmith.cli.fill_mask:run", "Fill in the [MASK]s of texts."),
    "lexicon": ("bertsmith.cli.lexicon:run", "Draw a word-to-word dictionary from parallel text."),
    "datasets": ("bertsmith.cli.datasets:run", "List the public data sets that are known by name."),
    "info": ("bertsmith.cli.info:run", "Say what a folder is, or what this machine can do."),
    "quickstart": ("bertsmith.cli.quickstart:run", "From text to a tested classifier, with no download."),
}
"""Every verb, where its function is, and one line about it; the module is imported when the verb is used."""

GROUPS = {"tokenizer": "Vocabularies."}
"""The first words of verbs of two words, and one line about each."""


def application() -> App:
    """The command line as a cyclopts application."""
    root = App(
        "bertsmith",
        help="One package for the whole life of a BERT.",
        version=__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    groups = {name: App(name, help=text) for name, text in GROUPS.items()}
    for group in groups.values():
        root.command(group)
    for name, (function, text) in VERBS.items():
        *group_name, word = name.split()
        (groups[group_name[0]] if group_name else root).command(function, name=word, help=text)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What cannot be written (a stray byte of a file's name, say) becomes an escape, which is valid in JSON too.
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in arguments or os.environ.get("BERTSMITH_DEBUG", "0") not in ("", "0")
    try:
        application()(arguments, exit_on_error=False, print_error=False, result_action="return_none")
        sys.stdout.flush()
        return 0
    except CycloptsError as error:
        return _usage_error(error)
    except (BrokenPipeError, SystemExit):
        # rich makes a SystemExit of a broken pipe. The interpreter flushes stdout at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (BertsmithError, OSError) as error:
        if debug:
            traceback.print_exc()
        if not getattr(error, "is_told", False):
            who = "" if speaks() else f"process {os.environ['RANK']}: "
            print(f"{who}error: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def exit_code(error: Exception) -> int:
    """2 for a wrong option, 75 for what can be gone on with, else 1."""
    if isinstance(error, InterruptedRunError):
        return EXIT_CODE
    return 2 if isinstance(error, SettingsError) else 1


def _usage_error(error: CycloptsError) -> int:
    words = " ".join(("bertsmith", *(error.command_chain or ())))
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        # cyclopts' own message would import every verb to look for names.
        word, known = error.unused_tokens[0], [name for name in error.app or () if not name.startswith("-")]
        message = f"no verb {word!r}; {nearest(word, known)}"
    else:
        error.verbose = False
        message = str(error)
    print(f"error: {message}\ntry: {words} --help", file=sys.stderr)
    return 2
