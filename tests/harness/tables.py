"""Tables of a page of docs that are made from the code, each between two markers."""

import re
from collections.abc import Mapping


def filled(text: str, tables: Mapping[str, str]) -> str:
    """`text` with each table as it is given. Raises ValueError where a table's markers are missing."""
    for name, rows in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"there is no {begin} and {end}")
        block = f"{begin}\n{rows}\n{end}"
        text = re.sub(f"{begin}.*?{end}", lambda _, block=block: block, text, flags=re.DOTALL)
    return text
