"""How an upstream's failures are told: one public sentence that leaks nothing, and a detail for the record."""

from core.errors import Reason, Unavailable


class UnintelligibleError(Unavailable):
    """The server is alive and refuses the request in words that are not MCP: it may speak another era."""


class NotSentError(Unavailable):
    """Nothing of the request has left: it may be tried elsewhere."""


class ChallengedError(Unavailable):
    """The server wants another credential than it was given, or one at all (RFC 6750 section 3)."""

    def __init__(self, status: int, challenge: str, nonce: str) -> None:
        """`challenge`: `WWW-Authenticate`; `nonce`: what proofs are to hold (RFC 9449 section 9)."""
        super().__init__(
            Reason.UPSTREAM_UNAVAILABLE,
            "the tool's server is not available",
            detail=f"refuses the gateway's credentials: HTTP {status}",
        )
        self.status = status
        self.challenge = challenge
        self.nonce = nonce


class ForgottenError(Unavailable):
    """The server does not know the session any more, so nothing was begun in it."""


def forgotten(detail: str) -> ForgottenError:
    return ForgottenError(Reason.UPSTREAM_UNAVAILABLE, "the tool's server is not available", detail=clipped(detail))


def unsent(detail: str, *, retry_after_s: float | None = None) -> NotSentError:
    return NotSentError(
        Reason.UPSTREAM_UNAVAILABLE,
        "the tool's server is not available",
        detail=clipped(detail),
        retry_after_s=retry_after_s,
    )


def not_sent(failure: Unavailable) -> NotSentError:
    """The same, of what had to be done before the request could be sent."""
    return NotSentError(failure.reason, failure.public, detail=failure.detail, retry_after_s=failure.retry_after_s)


def unintelligible(detail: str) -> UnintelligibleError:
    return UnintelligibleError(
        Reason.UPSTREAM_UNAVAILABLE, "the tool's server is not available", detail=clipped(detail)
    )


def unavailable(detail: str, *, retry_after_s: float | None = None) -> Unavailable:
    """Cannot connect, connection lost, or the answer is not MCP."""
    return Unavailable(
        Reason.UPSTREAM_UNAVAILABLE,
        "the tool's server is not available",
        detail=clipped(detail),
        retry_after_s=retry_after_s,
    )


def timed_out(deadline_s: float) -> Unavailable:
    return Unavailable(
        Reason.UPSTREAM_TIMEOUT, "the tool's server did not answer in time", detail=f"no answer within {deadline_s:g} s"
    )


def too_large(max_bytes: int) -> Unavailable:
    return Unavailable(
        Reason.UPSTREAM_TOO_LARGE, "the tool's answer is too large", detail=f"answer exceeds {max_bytes} bytes"
    )


def overloaded(detail: str, *, retry_after_s: float = 1.0) -> Unavailable:
    """A cap of this node is reached."""
    return Unavailable(
        Reason.OVERLOADED,
        "the tool's server is busy: try again shortly",
        detail=clipped(detail),
        retry_after_s=retry_after_s,
    )


def clipped(text: str, longest: int = 300) -> str:
    """At most so many printable characters: details hold what a stranger sent."""
    return "".join(c if c.isprintable() else " " for c in text[:longest])
