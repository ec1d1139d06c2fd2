"""The documentation inside every Python installation as a corpus and two labelled data sets; no download, no import.

The text is the language reference (`pydoc_data/topics.py`) and the docstrings of the standard library, both read with
`ast`, so nothing of what is read is executed. This module knows nothing of tokenizers, models or file formats.

Everything is split by module: each top-level module belongs, by a hash of its name, to training or to the held-out
part, and a held-out module is absent from the pre-training documents as well. Licence: the Python Software Foundation
License of the installation that is read.
"""

from __future__ import annotations

import ast
import hashlib
import os
import random
import re
import sysconfig
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bertsmith.errors import DataError
from bertsmith.text.sentences import split_sentences

# The table is what "true label" means: it names modules, and every docstring of a module has its family.
FAMILIES: dict[str, tuple[str, ...]] = {
    family: tuple(modules.split())
    for family, modules in {
        "concurrency": "asyncio threading multiprocessing concurrent queue selectors sched contextvars",
        "data types": (
            "decimal fractions numbers statistics random datetime calendar collections enum operator functools "
            "heapq bisect copy copyreg types typing dataclasses weakref abc uuid zoneinfo graphlib reprlib "
            "hashlib hmac secrets colorsys contextlib"
        ),
        "files and system": (
            "os pathlib shutil tempfile glob fnmatch filecmp fileinput stat tarfile zipfile gzip bz2 lzma io "
            "subprocess platform zipapp pipes pty tty getpass crypt dbm shelve sqlite3 signal"
        ),
        "internet": (
            "http urllib ftplib imaplib smtplib smtpd poplib nntplib telnetlib socket socketserver ssl xmlrpc "
            "wsgiref ipaddress cgi cgitb webbrowser asyncore asynchat netrc"
        ),
        "language and packages": (
            "importlib distutils ast inspect dis opcode tokenize token keyword pickletools pickle pydoc symtable "
            "pkgutil zipimport runpy site sysconfig venv ensurepip compileall py_compile code codeop pyclbr "
            "modulefinder imp tabnanny"
        ),
        "mail and markup": (
            "email mailbox mimetypes html xml json csv configparser plistlib tomllib quopri base64 uu mailcap"
        ),
        "testing and debugging": (
            "unittest doctest pdb trace traceback profile timeit logging warnings tracemalloc linecache"
        ),
        "text and command line": (
            "re string textwrap difflib codecs encodings locale gettext pprint shlex argparse optparse getopt cmd "
            "stringprep rlcompleter time"
        ),
        "user interface": "tkinter idlelib turtle curses",
    }.items()
}
# Parts of one thing under several names: they share sentences, so they must fall on one side of the split.
SIBLINGS: dict[str, str] = {
    "_aix_support": "sysconfig",
    "_collections_abc": "collections",
    "_compression": "gzip",
    "_markupbase": "html",
    "_osx_support": "sysconfig",
    "_py_abc": "abc",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "_pyrepl": "code",
    "_strptime": "time",
    "_threading_local": "threading",
    "_weakrefset": "weakref",
    "bdb": "pdb",
    "cProfile": "profile",
    "genericpath": "os",
    "ntpath": "os",
    "nturl2path": "urllib",
    "posixpath": "os",
    "pstats": "profile",
    "turtledemo": "turtle",
}
EXCLUDED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "pydoc_data", "__pycache__", "_vendor"}
)
HELD_OUT_FRACTION = 0.2
MASKED_NAME = "___"

Split = Literal["train", "held_out"]
Kind = Literal["module", "class", "function"]
_KINDS: dict[type[ast.AST], Kind] = {ast.Module: "module", ast.ClassDef: "class"}


@dataclass(frozen=True, slots=True)
class Docstring:
    """One docstring: dotted `module`, qualified `name` within it (empty for the module itself) and cleaned text.

    signature: the heading that documentation gives it: the name, a function's with its parameters, self and cls aside.
    """

    module: str
    name: str
    kind: Kind
    signature: str
    text: str

    @property
    def top(self) -> str:
        """The top-level module, siblings under one name."""
        return top_module(self.module)

    @property
    def split(self) -> Split:
        """The side of the split on which the whole top-level module lies."""
        return "held_out" if is_held_out(self.top) else "train"


@dataclass(frozen=True, slots=True)
class PythonDocs:
    """What an installation's documentation came to: pre-training documents, docstrings and what was left out."""

    documents: list[list[str]]
    docstrings: list[Docstring]
    num_files: int
    unreadable_files: list[str]
    num_duplicates: int
    num_crossing_duplicates: int

    def held_out_sentences(self) -> list[str]:
        """The sentences of held-out docstrings, none of which is in `documents`."""
        trained = {sentence for document in self.documents for sentence in document}
        docstrings = (docstring for docstring in self.docstrings if docstring.split == "held_out")
        sentences = (sentence for docstring in docstrings for sentence in _sentences(docstring.text))
        return [sentence for sentence in dict.fromkeys(sentences) if sentence not in trained]

    @property
    def num_characters(self) -> int:
        """Characters of text in the pre-training documents."""
        return sum(len(sentence) for document in self.documents for sentence in document)


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled example; `text_pair` is None where the question has one text. `source`: the object it came from."""

    text: str
    text_pair: str | None
    label: str
    source: str


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """A data set with true labels, split by module."""

    train: list[Row]
    held_out: list[Row]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Rows of each label as (train, held out), labels in alphabetical order."""
        train, held_out = Counter(row.label for row in self.train), Counter(row.label for row in self.held_out)
        return {label: (train[label], held_out[label]) for label in sorted(train | held_out)}


def top_module(dotted: str) -> str:
    """The top-level module of a dotted name, siblings under one name.

    >>> top_module("asyncio.locks.Lock"), top_module("posixpath.join")
    ('asyncio', 'os')
    """
    first = dotted.partition(".")[0]
    return SIBLINGS.get(first, first)


def is_held_out(top: str) -> bool:
    """Whether a top-level module is kept from all training: a function of its name alone, so equal in every Python.

    The salt was chosen among the first 60,000 for an even share of held-out docstrings in every family, before any
    model was trained.
    """
    digest = hashlib.sha256(f"python-docs-54115/{top}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_FRACTION * 2**32


def gather(stdlib: Path | None = None) -> PythonDocs:
    """Read the documentation under `stdlib` (by default that of the running Python), in an order that never changes.

    Raises `DataError` where the folder holds no documentation, as in an installation from a zip archive.
    """
    root = stdlib or Path(sysconfig.get_path("stdlib"))
    docstrings: list[Docstring] = []
    unreadable: list[str] = []
    num_files = 0
    for path in _sources(root):
        try:
            tree = _parse(path)
        except (SyntaxError, ValueError, RecursionError, OSError):
            unreadable.append(path.relative_to(root).as_posix())
            continue
        num_files += 1
        docstrings.extend(_docstrings(tree, _module_name(path.relative_to(root))))
    if not docstrings:
        raise DataError(
            f"{root}: expected the standard library's source files (*.py) with docstrings, found none; "
            "name a folder that has them, such as the lib/python3.X of a full Python installation"
        )
    kept, num_duplicates, num_crossing = _without_duplicates(docstrings)
    documents = _reference(root / "pydoc_data" / "topics.py") + _documents(d for d in kept if d.split == "train")
    return PythonDocs(documents, kept, num_files, unreadable, num_duplicates, num_crossing)


def family_rows(docs: PythonDocs, min_words: int = 6, max_words: int = 60, min_rows: int = 10) -> LabelledRows:
    """Which family of modules does a docstring come from? Held-out modules were never seen.

    The text is the docstring's opening, at most `max_words` words, with its own module's name masked as `___`: the name
    alone would give the answer away. Families with fewer than `min_rows` rows on either side (installations without
    tkinter, say) are left out.
    """
    family_of = {module: family for family, modules in FAMILIES.items() for module in modules}
    rows: dict[Split, list[Row]] = {"train": [], "held_out": []}
    seen: set[str] = set()
    for docstring in docs.docstrings:
        family = family_of.get(docstring.top)
        words = _mask_own_name(" ".join(prose(docstring.text)), docstring).split()
        text = " ".join(words[:max_words])
        if family is None or len(words) < min_words or _key(text) in seen:
            continue
        seen.add(_key(text))
        rows[docstring.split].append(Row(text, None, family, _source(docstring)))
    counts = {split: Counter(row.label for row in part) for split, part in rows.items()}
    enough = {family for family in FAMILIES if min(count[family] for count in counts.values()) >= min_rows}
    return LabelledRows(*([row for row in rows[split] if row.label in enough] for split in ("train", "held_out")))


def pair_rows(docs: PythonDocs, seed: int = 0, max_words: int = 50) -> LabelledRows:
    """Does this description belong to that summary line? Half of the rows are true pairs, half are not.

    A description is what follows a docstring's summary, at most `max_words` words. Those of one source file are dealt
    out again among its summaries so that none keeps its own: every summary and every description occurs once in a true
    and once in a false pair, and neither of them alone says anything about the answer.
    """
    groups: dict[tuple[Split, str], list[tuple[Docstring, str, str]]] = defaultdict(list)
    seen: set[str] = set()
    for docstring in docs.docstrings:
        parts = _summary_and_description(docstring.text, max_words)
        if parts is None or not seen.isdisjoint(map(_key, parts)):
            continue
        seen.update(map(_key, parts))
        groups[docstring.split, docstring.module].append((docstring, *parts))
    rows: dict[Split, list[Row]] = {"train": [], "held_out": []}
    for (split, module), members in groups.items():
        if len(members) < 2:
            continue
        random.Random(f"{seed}/{module}").shuffle(members)
        for (docstring, summary, own), (_, _, other) in zip(members, members[1:] + members[:1], strict=True):
            rows[split].append(Row(summary, own, "belongs", _source(docstring)))
            rows[split].append(Row(summary, other, "does not belong", _source(docstring)))
    return LabelledRows(rows["train"], rows["held_out"])


def prose(text: str) -> list[str]:
    """The paragraphs of `text` that are sentences rather than code, tables or grammar, each on one line.

    >>> prose("Add two\\nnumbers.\\n\\n>>> add(1, 2)\\n3\\n\\n=== ===\\n\\nReturn the sum of the two.")
    ['Add two numbers.', 'Return the sum of the two.']
    """
    paragraphs = (" ".join(block.split()) for block in re.split(r"\n[ \t]*\n", text) if ">>> " not in block)
    return [paragraph for paragraph in paragraphs if _is_prose(paragraph)]


def _is_prose(paragraph: str) -> bool:
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    return "::=" not in paragraph and letters >= 0.8 * len(paragraph) and len(paragraph.split()) >= 2


def _sources(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in EXCLUDED_FOLDERS and not name.startswith("config-")]
        found.extend(Path(folder, name) for name in files if name.endswith(".py"))
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _parse(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Invalid escapes in somebody else's source are not this run's news.
        return ast.parse(path.read_bytes(), filename=str(path))


def _module_name(relative: Path) -> str:
    return ".".join(part for part in relative.with_suffix("").parts if part != "__init__")


def _docstrings(node: ast.AST, module: str, name: str = "") -> Iterator[Docstring]:
    """Those of a module, its classes and functions, in the order of the source."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield Docstring(module, name, _KINDS.get(type(node), "function"), _signature(node, name or module), text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.excepthandler):
            own_name = getattr(child, "name", None) if isinstance(child, ast.stmt) else None
            yield from _docstrings(child, module, ".".join(filter(None, (name, own_name))))


def _signature(node: ast.AST, name: str) -> str:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return name
    given = node.args
    parameters = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    names = (parameter.arg for parameter in parameters if parameter is not None)
    return f"{name}({', '.join(name for name in names if name not in ('self', 'cls'))})"


def _reference(topics: Path) -> list[list[str]]:
    """The language reference, a document a topic; empty where the installation leaves it out."""
    if not topics.is_file():
        return []
    tables = [node.value for node in _parse(topics).body if isinstance(node, ast.Assign)]
    texts: dict[str, str] = ast.literal_eval(tables[0])
    documents = (_sentences(texts[name]) for name in sorted(texts))
    return [document for document in documents if document]


def _documents(docstrings: Iterable[Docstring]) -> list[list[str]]:
    """A document for each docstring: its signature, as documentation prints it, then its sentences."""
    with_sentences = ((docstring.signature, _sentences(docstring.text)) for docstring in docstrings)
    return [[signature, *sentences] for signature, sentences in with_sentences if sentences]


def _sentences(text: str) -> list[str]:
    return [paragraph[start:end] for paragraph in prose(text) for start, end in split_sentences(paragraph)]


def _without_duplicates(docstrings: list[Docstring]) -> tuple[list[Docstring], int, int]:
    """One docstring of each text; a text on both sides of the split stays only on the held-out one."""
    held_out = {_key(docstring.text) for docstring in docstrings if docstring.split == "held_out"}
    kept: dict[str, Docstring] = {}
    num_crossing = 0
    for docstring in docstrings:
        if docstring.split == "train" and _key(docstring.text) in held_out:
            num_crossing += 1
        else:
            kept.setdefault(_key(docstring.text), docstring)
    return list(kept.values()), len(docstrings) - num_crossing - len(kept), num_crossing


def _key(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _source(docstring: Docstring) -> str:
    return ".".join(filter(None, (docstring.module, docstring.name)))


def _mask_own_name(text: str, docstring: Docstring) -> str:
    first = docstring.module.partition(".")[0]
    names = "|".join(sorted({re.escape(name) for name in (first, first.strip("_"), docstring.top)}))
    return re.sub(rf"(?<![^\W_])(?:{names})(?![^\W_])", MASKED_NAME, text, flags=re.IGNORECASE)


def _summary_and_description(text: str, max_words: int) -> tuple[str, str] | None:
    """A docstring's summary and the opening of what follows it; None where one of them is missing or very short."""
    paragraphs = prose(text)
    if not paragraphs:
        return None
    _, end = split_sentences(paragraphs[0])[0]
    summary, rest = paragraphs[0][:end], paragraphs[0][end:]
    words = " ".join([rest, *paragraphs[1:]]).split()[:max_words]
    return (summary, " ".join(words)) if len(summary.split()) >= 3 and len(words) >= 6 else None
