"""What the words of a command line must be before anybody asks what they mean."""

import argparse
from collections.abc import Callable, Mapping, Sequence

from cli.failure import USAGE, Failure

MAX_WAIT_S = 86_400
MAX_WHOLE = 2**63 - 1
_PATHS = frozenset(
    [
        "-f",
        "--file",
        "--data-dir",
        "--out",
        "--export",
        "--checkpoints",
        "--connection",
        "--ca-file",
        "--cert-file",
        "--key-file",
    ]
)
"""Flags whose values are names of files, which may be any bytes."""


def be_text(given: Sequence[str], environment: Mapping[str, str]) -> None:
    """Bytes that are no UTF-8 come as halves of surrogate pairs, which only names of files may be. Raises Failure."""
    for place, word in enumerate(given):
        flag, sign, _ = word.partition("=")
        if not (sign and flag.startswith("-")):
            before = given[place - 1] if place else ""
            flag = before if before.startswith("-") else f"argument {place + 1}"
        if flag not in _PATHS:
            _be_text(flag, word)
    for name, word in environment.items():
        if name.startswith("TOOLGATE_") and not name.endswith(("_FILE", "_CONNECTION")):
            _be_text(name, word)


def _be_text(what: str, word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError as failure:
        raise Failure(USAGE, f"{what}: must be UTF-8 text, not {word!a}") from failure


def seconds(text: str) -> float:
    """For argparse."""
    try:
        given = float(text)
    except ValueError:
        given = 0
    if not 0 < given <= MAX_WAIT_S:  # NaN is not either
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, at most {MAX_WAIT_S}, not {text!r}")
    return given


def whole(most: int = MAX_WHOLE) -> Callable[[str], int]:
    """For argparse: a whole number from 0."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {most}, not {text[:64]!r}")
        return int(text)

    return read
