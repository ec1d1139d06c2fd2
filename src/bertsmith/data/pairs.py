"""Tables of text pairs whose further texts stand in numbered columns, as collections of hard negatives write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bertsmith.data.columns import plain_name
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table

_NUMBERED = re.compile(r"negative(\d+)")


def read_pairs(path: Path, reading: Reading) -> Iterator[Row]:
    """The rows of a table; texts under `negative_1`, `negative_2`, ... become `negatives`, in the numbers' order.

    Empty ones are none. A table that has `negatives` already stays as it is.
    """
    for row in read_table(path, reading):
        numbered = {name: _NUMBERED.fullmatch(plain_name(name)) for name in row.values}
        places = sorted((int(found[1]), name) for name, found in numbered.items() if found)
        if not places or "negatives" in row.values:
            yield row
            continue
        negatives = [row.values[name] for _, name in places if row.values[name] not in (None, "")]
        others = {name: value for name, value in row.values.items() if not numbered[name]}
        yield replace(row, values=others | {"negatives": negatives})
