"""The two ways a request may fail. Anything else is a bug, and is caught only at the edge."""

from enum import StrEnum

from core.guard import Finding


class Reason(StrEnum):
    """Why a call did not succeed: the `outcome` of its Record, and the row looked up in each wire's error table."""

    UNAUTHENTICATED = "unauthenticated"
    NOT_FOUND = "not_found"
    """No such tenant, endpoint or session, or not for this caller: the two answer alike (HTTP 404)."""
    UNKNOWN_TOOL = "unknown_tool"
    """The endpoint has no such tool (JSON-RPC -32602)."""
    FORBIDDEN = "forbidden"
    """A tool the caller may not use. Shown to the caller exactly as UNKNOWN_TOOL; recorded as itself."""
    ORIGIN = "origin"
    """A browser's page of another origin."""
    RATE_LIMITED = "rate_limited"
    GUARD_BLOCKED = "guard_blocked"
    INVALID = "invalid"
    """The request breaks a rule of the protocol; `data` and the message name the field."""
    UNSUPPORTED_VERSION = "unsupported_version"
    HEADER_MISMATCH = "header_mismatch"
    MISSING_CAPABILITY = "missing_capability"
    UNKNOWN_METHOD = "unknown_method"
    TOO_LARGE = "too_large"
    OVERLOADED = "overloaded"
    """A cap of this node is reached."""
    NO_SNAPSHOT = "no_snapshot"
    STALE = "stale"
    POLICY_UNAVAILABLE = "policy_unavailable"
    LIMIT_UNAVAILABLE = "limit_unavailable"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    UPSTREAM_UNAVAILABLE = "upstream_unavailable"
    """Cannot connect, connection lost, or answers what is not MCP."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_TOO_LARGE = "upstream_too_large"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class Refused(Exception):
    """A rule said no: counted, not logged as an error, never retried.

    `public` is safe to show to a stranger; `detail` goes to the record only.
    """

    def __init__(
        self,
        reason: Reason,
        public: str,
        *,
        detail: str = "",
        retry_after_s: float | None = None,
        data: bytes = b"",
        findings: tuple[Finding, ...] = (),
    ) -> None:
        super().__init__(f"{reason}: {detail or public}")
        self.reason = reason
        self.public = public
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.data = data
        """JSON for the error's `data` member, or empty."""
        self.findings = findings
        """What a guard saw, for the record."""


class Unavailable(Exception):
    """A dependency failed or was late: logged once by the meter, may be retried by the caller."""

    def __init__(self, reason: Reason, public: str, *, detail: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {detail or public}")
        self.reason = reason
        self.public = public
        self.detail = detail
        self.retry_after_s = retry_after_s
