"""Inputs that are kept: few and small, one file per target, so that replaying them takes a moment.

A file holds one input to a line, in base64: thousands of little files would be a burden to everyone else.
"""

import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from types import CodeType, FrameType

FOLDER = Path(__file__).parent / "corpus"
NAMES = (
    "request", "bare", "values", "places", "ticket", "events", "answer", "http", "result", "channel", "websocket",
    "front", "splice", "talk", "lines", "masked", "identity",
)  # fmt: skip
MAX_BYTES = 2048
"""Longer inputs are found again if they matter."""

Arc = tuple[CodeType, int, int]


def kept(name: str) -> list[bytes]:
    """The corpus of a target."""
    path = FOLDER / name
    return [b64decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def sow(name: str, folder: Path) -> None:
    """Writes what is known of a target as libFuzzer wants it: a file each."""
    from tests.fuzz.seeds import seeds

    for one in (*seeds(name), *kept(name)):
        (folder / blake2b(one, digest_size=16).hexdigest()).write_bytes(one)


def minimise(name: str, found: Path) -> tuple[str, ...]:
    """Replaces a target's corpus by as few inputs, short ones first, as reach the same. Returns figures to print."""
    from tests.fuzz.seeds import seeds
    from tests.fuzz.targets import all_targets

    target, ours = all_targets()[name], seeds(name)
    inputs = {*kept(name), *(path.read_bytes() for path in found.glob("*"))} - set(ours)
    reached = _reached(target, ours)
    from_seeds = len(reached)
    chosen = []
    for one in sorted((one for one in inputs if len(one) <= MAX_BYTES), key=lambda one: (len(one), one)):
        more = _reached(target, [one]) - reached
        if more:
            reached |= more
            chosen.append(one)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / name).write_bytes(b"".join(b64encode(one) + b"\n" for one in chosen))
    return f"{len(ours)} seeds reach {from_seeds}", f"{len(inputs)} found reach {len(reached)}", f"{len(chosen)} kept"


def _reached(target: Callable[[bytes], None], inputs: Iterable[bytes]) -> set[Arc]:
    """Steps from line to line in our own code."""
    arcs: set[Arc] = set()
    before: dict[FrameType, int] = {}

    def line(frame: FrameType, event: str, _: object) -> Callable[..., object]:
        if event == "line":
            arcs.add((frame.f_code, before.get(frame, 0), frame.f_lineno))
            before[frame] = frame.f_lineno
        elif event == "return":
            before.pop(frame, None)
        return line

    def call(frame: FrameType, _event: str, _: object) -> Callable[..., object] | None:
        path = frame.f_code.co_filename
        return line if ("/core/" in path or "/data_plane/" in path) and "/tests/" not in path else None

    for one in inputs:
        sys.settrace(call)
        try:
            target(one)
        finally:
            sys.settrace(None)
    return arcs
