"""What a session may no longer do once it has seen something: declared with a guard, kept for a while."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from core.resource import LABEL_KEY, Problem

LONGEST_S: Final = 7 * 86400
DETECTOR: Final = "taint"
"""What it is called in findings, metrics and refusals, beside the detectors."""
AWAY: Final = "taint_unknown"
"""Likewise where nobody can tell whether there is one, and the call goes on all the same."""


class Taint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """After a result in which the guard found something, what carries these labels is refused."""

    forbids: dict[str, str]
    """Labels, all of which a tool, prompt or resource must carry to be refused."""
    for_s: int = 3600
    per: Literal["session", "caller"] = "session"
    """Whom it holds for: the session (a modern caller has none: then the caller), or user and agent in all theirs."""
    required: bool = False
    """While what gateways share is away, nothing is shown and nothing is called that this could be about."""

    def problems(self) -> Iterator[Problem]:
        if not self.forbids:
            yield Problem("spec.taint.forbids", "must name at least one label")
        for key in self.forbids:
            if not LABEL_KEY.fullmatch(key):
                yield Problem(f'spec.taint.forbids["{key}"]', "is no label")
        if not 1 <= self.for_s <= LONGEST_S:
            yield Problem("spec.taint.for_s", f"must be 1-{LONGEST_S}")

    def forbidden(self, labels: dict[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.forbids.items())


def key(secret: bytes, guard: str, whom: bytes) -> str:
    """Where it is kept that a guard tainted `whom`: tells nobody who that is. `secret`: 32 bytes, the tenant's."""
    mark = blake2b(msgspec.msgpack.encode((guard, whom)), key=secret, digest_size=16, person=b"toolgate taint")
    return f"taint/{mark.hexdigest()}"
