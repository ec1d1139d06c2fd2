"""Changes of an index that die in a process of its own, before the N-th statement to the store; and two writers.

python dying_index.py die FOLDER            each N in a forked process, on a copy of FOLDER; prints what became of it
python dying_index.py create FOLDER         dies before the N-th thing that a creation does with files; prints each N
python dying_index.py write FOLDER NAME     20 documents of that name, a batch each
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from toy_search import DOCUMENTS, toy_encoder
from toys import toy_tokenizer

from bertsmith.search.documents import Document
from bertsmith.search.index import Index
from bertsmith.search.searcher import open_index
from bertsmith.search.store import FILE

CHANGED = (Document("two", "Na ne ni no.", "", {"year": 2025}), Document("four", "La le li."), *DOCUMENTS[2:])


def main() -> None:
    command, folder = sys.argv[1], Path(sys.argv[2])
    encoder = toy_encoder()
    encoder.vectors(["ba"])
    if command == "write":
        index = Index.open(folder)
        for number in range(20):
            index.upsert([Document(f"{sys.argv[3]}-{number}", "Ba be bi.")], encoder)
        return
    if command == "create":
        creations(folder)
        return
    number, is_over = 0, False
    while not is_over:
        copy = folder.with_name(f"copy-{number}")
        shutil.copytree(folder, copy)
        child = os.fork()
        if child == 0:
            index = Index.open(copy)
            seen = [0]

            def count(statement: str, last: int = number, seen: list[int] = seen) -> None:
                if seen[0] == last:
                    os._exit(9)
                seen[0] += 1

            index.store._connection.set_trace_callback(count)
            index.upsert(CHANGED, encoder)
            index.delete(["one"])
            os._exit(0)
        _, status = os.waitpid(child, 0)
        is_over = os.waitstatus_to_exitcode(status) == 0
        searcher = open_index(copy, encoder=encoder)
        (hits,) = searcher.search(["ba fa na la"], limit=50)
        index = Index.open(copy)
        assert {hit.document for hit in hits} == {
            hit.document for hit in searcher.search(["ba"], limit=50, mode="dense")[0]
        }
        state = sorted({(hit.document, hit.text) for hit in hits})
        print(number, *(f"{name}:{text.split()[0]}" for name, text in state), flush=True)
        # The same call again: as if nothing had happened.
        index.upsert(CHANGED, encoder)
        index.delete(["one"])
        (hits,) = searcher.search(["na ne la"], limit=50)
        assert sorted({hit.document for hit in hits}) == ["four", "three", "two"]
        shutil.rmtree(copy)
        number += 1


def creations(folder: Path) -> None:
    """Each in a folder of its own; the same call again has to make the index."""
    number, is_over = 0, False
    while not is_over:
        place = folder / str(number)
        child = os.fork()
        if child == 0:
            seen = [0]

            def count(event: str, arguments: tuple[object, ...], last: int = number, seen: list[int] = seen) -> None:
                if event.startswith(("open", "os.", "sqlite3.", "tempfile.")):
                    if seen[0] == last:
                        os._exit(9)
                    seen[0] += 1

            sys.addaudithook(count)
            Index.create(place, toy_tokenizer())
            os._exit(0)
        is_over = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        is_there = Index.is_there(place)
        index = Index.open(place) if is_there else Index.create(place, toy_tokenizer())
        index.upsert(DOCUMENTS)
        assert {file.name for file in place.iterdir()} <= {"tokenizer", FILE, f"{FILE}-wal", f"{FILE}-shm"}
        print(number, "there" if is_there else "made again", flush=True)
        number += 1


if __name__ == "__main__":
    main()
