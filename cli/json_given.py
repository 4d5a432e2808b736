"""JSON as people give it with a flag. What no message can hold is refused here, before anything is sent."""

import json
import math
import sys

from cli.failure import USAGE, Failure


def value(text: str, flag: str) -> object:
    """Raises Failure, which names the flag."""
    try:
        return parse(text)
    except json.JSONDecodeError as failure:
        raise Failure(USAGE, f"{flag}: is not JSON: {failure}") from failure
    except ValueError as failure:
        raise Failure(USAGE, f"{flag}: {failure}") from failure


def object_(text: str, flag: str) -> dict[str, object]:
    """`-` reads standard input. Raises Failure."""
    found = value(_stdin(flag) if text == "-" else text, flag)
    if not isinstance(found, dict):
        raise Failure(USAGE, f"{flag}: must be an object")
    return found


def parse(text: str) -> object:
    """Raises ValueError: for what Python takes and JSON has not, too, and for a member that is there twice."""
    try:
        found: object = _DECODER.decode(text)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as failure:
        raise ValueError("is nested too deeply") from failure
    except UnicodeEncodeError as failure:
        raise ValueError("must not hold half a surrogate pair") from failure
    return found


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members: dict[str, object] = {}
    for name, item in pairs:
        if name in members:
            raise ValueError(f"the member {json.dumps(name)} is there twice")
        members[name] = item
    return members


def _constant(text: str) -> object:
    raise ValueError(f"is not JSON: {text} is no number of it")


def _fraction(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:32]} is too large a number")
    return number


def _whole(text: str) -> int:
    _fraction(text)
    return int(text)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_constant, parse_float=_fraction, parse_int=_whole
)


def _stdin(flag: str) -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise Failure(USAGE, f"{flag} -: standard input is not UTF-8 text") from failure
