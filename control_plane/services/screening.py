"""What the firewall says of tools' definitions, prompts, resources and instructions before agents see them."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec

from core.bound import Bound
from core.firewall_signals import Signals
from core.guard import Matcher
from core.resource import digest
from core.server import Observation, ObservedEntry

LEAST_SCORE = 50
"""From here on a definition waits for a person; the score from which the firewall's `balanced` profile acts."""
REMEMBERED = 10_000
MOST_CHARS = 128 * 1024
"""Of a definition's texts that are read; one that says more waits for a person too."""


class Screening:
    """Judges definitions, each text once."""

    def __init__(self, matcher: Matcher, *, remembered: int = REMEMBERED) -> None:
        """`remembered`: definitions whose answers are kept."""
        self._signals = Signals(matcher)
        self._said: OrderedDict[bytes, str] = OrderedDict()
        """By digest."""
        self._remembered = remembered
        self._full = 0

    @property
    def bound(self) -> Bound:
        return Bound(len(self._said), self._remembered, self._full)

    async def suspicious(self, definitions: Sequence[bytes]) -> dict[bytes, str]:
        """Of these JSON objects those that give orders, with score and reasons, such as "75: override secrecy"."""
        keys = {one: digest(one) for one in definitions}
        # What was said is held here too: others may push it out of the memory meanwhile.
        found = {one: said for one, key in keys.items() if (said := self._said.get(key)) is not None}
        unknown = [one for one in keys if one not in found]
        if unknown:
            judged = await asyncio.to_thread(lambda: [self._judge(one) for one in unknown])
            found |= zip(unknown, judged, strict=True)
        for one, key in keys.items():
            self._said[key] = found[one]
            self._said.move_to_end(key)
        while len(self._said) > self._remembered:
            self._said.popitem(last=False)
            self._full += 1
        return {one: said for one, said in found.items() if said}

    async def cleaned(self, seen: Observation) -> tuple[Observation, list[str]]:
        """The look without prompts, resources, templates and instructions that give orders, and what was left out."""
        told: list[str] = []
        kept: dict[str, list[ObservedEntry]] = {}
        for kind in ("prompts", "resources", "templates"):
            entries: list[ObservedEntry] = getattr(seen, kind)
            bad = await self.suspicious([entry.definition for entry in entries])
            kept[kind] = [entry for entry in entries if entry.definition not in bad]
            told += [f"{e.name[:128]}: gives orders ({bad[e.definition]})" for e in entries if e.definition in bad]
        instructions = msgspec.json.encode(seen.instructions)
        said = await self.suspicious([instructions]) if seen.instructions else {}
        if said:
            told.append(f"instructions: give orders ({said[instructions]})")
        if not told:
            return seen, told
        text = "" if said else seen.instructions
        return msgspec.structs.replace(seen, instructions=text, **kept), told

    def _judge(self, definition: bytes) -> str:
        try:
            text = "\n\n".join(_texts(msgspec.json.decode(definition)))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return ""  # No JSON, and so no definition: it is left out for that.
        if len(text) > MOST_CHARS:
            return "100: too_long"
        judged = self._signals.judge(text)
        return f"{judged.score}: {' '.join(judged.reasons)}" if judged.score >= LEAST_SCORE else ""


def _texts(value: object) -> Iterator[str]:
    """Every text in a definition, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _texts(one)
