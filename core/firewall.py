"""The prompt-injection firewall as declared, and what it does to a JSON text: a score, reasons, and what is taken out.

Texts from tools are data. What gives orders to the model in them is told by `core.firewall_signals`; this module says
from which score on something is done about it.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from core.deep import Deep, joined
from core.detect import Detector
from core.errors import Refused
from core.firewall_signals import Judgement, Signals
from core.guard import Action, Direction, Finding, Firewall, Matcher, Thresholds
from core.json_splice import Scalar, is_media, scalars, unquote
from core.masking import Scanner
from core.tokenise import ValueTokens

NAME = "injection"
"""What the firewall is called in findings, metrics and refusals, beside the detectors."""
REMOVED = "[removed:injection]"
PROFILES: dict[str, Thresholds] = {
    "lenient": Thresholds(report=50, block=90),
    "balanced": Thresholds(report=40, strip=50, block=80),
    "strict": Thresholds(report=30, block=50),
    "watch": Thresholds(report=30),
}
SHORTEST_CHARS = 12
"""No order fits in less."""
_PIECE = re.compile(r".+?(?:[.!?]+(?=\s)|[。！？]|\n|$)\s*", re.DOTALL)
"""A sentence or a line, with the space after it."""


def thresholds(firewall: Firewall) -> Thresholds:
    """The profile's, with what the guard says instead."""
    profile = PROFILES[firewall.profile]
    return Thresholds(
        report=profile.report if firewall.report_at is None else firewall.report_at,
        strip=profile.strip if firewall.strip_at is None else firewall.strip_at,
        block=profile.block if firewall.block_at is None else firewall.block_at,
    )


class FirewallScanner(Scanner):
    """A Scanner that looks for injections first. Immutable; one per set of rules, used by all calls."""

    at_once_bytes = 4 * 1024

    def __init__(
        self,
        actions: Mapping[str, Action],
        direction: Direction,
        matcher: Matcher,
        limits: Thresholds,
        own: Mapping[str, Detector] | None = None,
        *,
        partial: bool = False,
        tokens: ValueTokens | None = None,
        deep: Deep | None = None,
    ) -> None:
        super().__init__(actions, direction, matcher, own, partial=partial, tokens=tokens, deep=deep)
        self._signals = Signals(matcher)
        self._limits = limits
        self._least = min(filter(None, (limits.report, limits.strip, limits.block)), default=101)

    def mask(self, raw: bytes, *, is_result: bool = False) -> tuple[bytes, tuple[Finding, ...]]:
        """As Scanner's; what gives orders is reported, removed or refused first."""
        if not self._signals.may_hold(raw):
            return self.cut(raw, is_result=is_result) if self.actions else (raw, ())
        raw, found = self.screen(raw, is_result=is_result, score=0)
        if not self.actions:
            return raw, found
        try:
            masked, more = self.cut(raw, is_result=is_result)
        except Refused as refusal:
            refusal.findings = (*found, *refusal.findings)
            raise
        return masked, found + more

    def screen(self, raw: bytes, *, is_result: bool, score: int) -> tuple[bytes, tuple[Finding, ...]]:
        with self.refusing():
            return self._screened(raw, is_result=is_result, model=score)

    def is_clean(self, raw: bytes) -> bool:
        return not self._signals.may_hold(raw) and (not self.actions or super().is_clean(raw))

    def _screened(self, raw: bytes, *, is_result: bool, model: int) -> tuple[bytes, tuple[Finding, ...]]:
        text = raw.decode()
        said = [(scalar, words) for scalar, words in _said(text, is_result=is_result)]
        judged = _with(self._signals.judge("\n\n".join(words for _, words in said)), model)
        if judged.score < self._least:
            return raw, ()
        if self._limits.block and judged.score >= self._limits.block:
            finding = self._finding("block", judged)
            raise self.refusal(NAME, findings=(finding,))
        if not self._limits.strip or judged.score < self._limits.strip:
            return raw, (self._finding("report", judged),)
        finding = self._finding("mask", judged)
        if model >= self._limits.strip:
            # Which sentences the model means, it does not say.
            raise self.refusal(NAME, findings=(msgspec.structs.replace(finding, action="block"),))
        stripped = self._stripped(text, said)
        if (
            self._signals.judge("\n\n".join(w for _, w in _said(stripped, is_result=is_result))).score
            >= self._limits.strip
        ):
            raise self.refusal(NAME, findings=(msgspec.structs.replace(finding, action="block"),))
        return stripped.encode(), (finding,)

    def _finding(self, action: Action, judged: Judgement) -> Finding:
        return Finding(NAME, action, self.direction, 1, f"{judged.score}: {' '.join(judged.reasons)}")

    def _stripped(self, text: str, said: list[tuple[Scalar, str]]) -> str:
        """The text without the sentences that give orders; all else byte for byte. Names of members stay."""
        parts: list[str] = []
        done = 0
        for scalar, words in said:
            kept = words if scalar.is_key else self._without(words)
            if kept != words:
                parts += (text[done : scalar.start], msgspec.json.encode(kept).decode())
                done = scalar.end
        parts.append(text[done:])
        return "".join(parts)

    def _without(self, words: str) -> str:
        """One string without its orders: sentence by sentence where that is enough, else nothing of it is left."""
        limit = self._limits.strip
        if self._signals.judge(words).score < limit:
            return words
        pieces = [match.group() for match in _PIECE.finditer(words)]
        marked = [self._signals.judge(piece).score >= limit // 3 for piece in pieces]
        kept: list[str] = []
        for piece, bad in zip(pieces, marked, strict=True):
            if not bad:
                kept.append(piece)
            elif not kept or not kept[-1].startswith(REMOVED):
                kept.append(REMOVED + piece[len(piece.rstrip()) :])
        rest = "".join(kept)
        return rest if self._signals.judge(rest).score < limit else REMOVED


def _with(judged: Judgement, model: int) -> Judgement:
    """What signals and a model say together."""
    if not model:
        return judged
    return Judgement(joined(judged.score, model), (*judged.reasons, f"classifier={model}"))


def _said(text: str, *, is_result: bool) -> Iterator[tuple[Scalar, str]]:
    """Every string long enough to say something, with its text; pictures, sounds and files of a result are none."""
    for scalar in scalars(text):
        if not scalar.is_string or scalar.end - scalar.start < SHORTEST_CHARS:
            continue
        if is_result and scalar.is_media and is_media(text, scalar):
            continue
        words = unquote(text[scalar.start : scalar.end])
        yield scalar, text[scalar.start + 1 : scalar.end - 1] if words is None else words
