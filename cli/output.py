"""What commands print: aligned tables for people, JSON or YAML for programs."""

import argparse
import errno
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeGuard, TypeVar

Json = dict[str, object]
T = TypeVar("T")

TOLD_EVERY_S = 2.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_CONTROLS = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")


def add_format_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="how to print")


def show(fmt: str, value: object, table: Iterable[Sequence[str]], header: Sequence[str]) -> None:
    """`value` for programs, or `table` for people."""
    if fmt == "table":
        print_table(header, table)
    else:
        print(dumped(fmt, value), end="")


def tell(fmt: str, value: object, line: str) -> None:
    """What was done: `value` for programs, or one line for people."""
    print(line if fmt == "table" else dumped(fmt, value).removesuffix("\n"), flush=True)


def dumped(fmt: str, value: object) -> str:
    if fmt == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [tuple(header), *(tuple(_cell(c) for c in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def flush() -> None:
    """What is printed is written. Raises OSError."""
    if sys.stdout is not None:
        sys.stdout.flush()


def is_full(failure: Exception) -> TypeGuard[OSError]:
    """Whether what is written to had no more room, or nothing behind it. Files that cannot be opened have names."""
    return isinstance(failure, OSError) and failure.errno in _FULL and failure.filename is None


def discard() -> None:
    """What was not written is dropped: at exit, Python would try once more and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(text: str) -> None:
    """A line for people about long work; never mixed into what programs read."""
    print(plain(text), file=sys.stderr, flush=True)


def plain(text: str) -> str:
    """Without control characters but line ends and tabs: what a server said must not drive the terminal."""
    return _CONTROLS.sub("", text).encode("utf-8", "backslashreplace").decode()


def counted(what: str, items: Sequence[T], clock: Callable[[], float] = time.monotonic) -> Iterator[T]:
    """The items one by one; how many are done is said every few seconds, so that quick work says nothing."""
    said_s = clock()
    for done, item in enumerate(items):
        if clock() - said_s >= TOLD_EVERY_S:
            said_s = clock()
            progress(f"{done} of {len(items)} {what} ...")
        yield item


def age(stamp: str) -> str:
    """ "3m" of an RFC 3339 time; "-" of none."""
    if not stamp:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _cell(text: str) -> str:
    """One line, without control characters: what a server said must not drive the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
