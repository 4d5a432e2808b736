"""Vault-compatible key-value stores that Secrets come from: how they are declared, what is asked of them, and what
their answers mean. No I/O.

The HTTP API is that of HashiCorp Vault and OpenBao: KV version 1 and 2, and the auth methods token, AppRole and
Kubernetes.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeVar
from urllib.parse import quote

import msgspec

from core.resource import Problem, Ref
from core.secret import DAY_S, MAX_CHARS, PATH_RULE, NoValue, VaultSource, is_path
from core.web import Answer, Request, url_problems

TIMEOUT_S: Final = 5.0
MOST_BYTES: Final = 1024 * 1024
RENEW_SHARE: Final = 2 / 3
"""Of a lease's length: then it is renewed."""
T = TypeVar("T")
SHORT_S: Final = 30.0
"""A renewed lease shorter than this has reached its end: the next one begins with a login."""


class TokenLogin(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="token"
):
    """A token made beforehand; it is renewed if it can be."""

    token: str
    """Name of a Secret."""


class AppRoleLogin(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="approle"
):
    role_id: str
    secret_id: str = ""
    """Name of a Secret; empty for a role that takes none."""
    mount: str = "approle"


class KubernetesLogin(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="kubernetes"
):
    role: str
    jwt: str
    """Name of a Secret with a service account's token: one whose source is a mounted file stays fresh."""
    mount: str = "kubernetes"


Login = TokenLogin | AppRoleLogin | KubernetesLogin


class SecretStore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A Vault-compatible key-value store that Secrets can come from."""

    url: str
    """Such as `https://vault.example.com:8200`."""
    login: Login
    namespace: str = ""
    """Vault Enterprise and OpenBao; empty: the root."""
    mount: str = "secret"
    version: Literal[1, 2] = 2
    """Of the key-value engine at the mount."""
    refresh_s: int = 300
    grace_s: int = 3600
    """How long the last value of a Secret goes on while the store does not give it."""
    ca_pem: str = ""
    """Trust these certificates instead of the system's."""
    allow_private: bool = False
    """Permit loopback, link-local and private addresses, and plain HTTP."""

    def problems(self) -> Iterator[Problem]:
        yield from url_problems("spec.url", self.url, allow_private=self.allow_private)
        if "?" in self.url:
            yield Problem("spec.url", "must not have a query")
        for field in ("mount", "namespace"):
            value = getattr(self, field).strip("/")
            if not is_path(value) and not (field == "namespace" and not self.namespace):
                yield Problem(f"spec.{field}", PATH_RULE)
        if not self.namespace.isascii():
            yield Problem("spec.namespace", "must be ASCII")
        if not 10 <= self.refresh_s <= DAY_S:
            yield Problem("spec.refresh_s", f"must be 10-{DAY_S}")
        if not 0 <= self.grace_s <= 30 * DAY_S:
            yield Problem("spec.grace_s", f"must be 0-{30 * DAY_S}")
        login = self.login
        if not isinstance(login, TokenLogin):
            if not is_path(login.mount):
                yield Problem("spec.login.mount", PATH_RULE)
            field = "role_id" if isinstance(login, AppRoleLogin) else "role"
            if not 0 < len(getattr(login, field)) <= 1024:
                yield Problem(f"spec.login.{field}", "must be 1-1024 characters")

    def references(self) -> Iterator[tuple[str, Ref]]:
        for field, name in credentials(self.login):
            yield f"spec.login.{field}", Ref("Secret", "", name)


def credentials(login: Login) -> Iterator[tuple[str, str]]:
    """(field, name of the Secret)"""
    for field in ("token", "secret_id", "jwt"):
        name = getattr(login, field, "")
        if name:
            yield field, name


# === what is asked ===


def login_request(store: SecretStore, values: Mapping[str, str]) -> Request:
    """`values`: by the name of the Secret. A token made beforehand is asked about itself."""
    login = store.login
    if isinstance(login, TokenLogin):
        return _request(store, "GET", "auth/token/lookup-self", values[login.token].strip())
    if isinstance(login, AppRoleLogin):
        body = {"role_id": login.role_id}
        if login.secret_id:
            body["secret_id"] = values[login.secret_id].strip()
    else:
        body = {"role": login.role, "jwt": values[login.jwt].strip()}
    return _request(store, "POST", f"auth/{_quoted(login.mount)}/login", body=msgspec.json.encode(body))


def renewal_request(store: SecretStore, token: str) -> Request:
    return _request(store, "POST", "auth/token/renew-self", token, b"{}")


def read_request(store: SecretStore, source: VaultSource, token: str) -> Request:
    mount, path = _quoted(store.mount.strip("/")), _quoted(source.path)
    if store.version == 1:
        return _request(store, "GET", f"{mount}/{path}", token)
    version = f"?version={source.version}" if source.version else ""
    return _request(store, "GET", f"{mount}/data/{path}{version}", token)


def _request(store: SecretStore, method: str, path: str, token: str = "", body: bytes = b"") -> Request:
    headers = [("accept", "application/json"), ("x-vault-request", "true")]
    headers += [("x-vault-token", token)] if token else []
    headers += [("x-vault-namespace", store.namespace)] if store.namespace else []
    headers += [("content-type", "application/json")] if body else []
    return Request(
        url=f"{store.url.rstrip('/')}/v1/{path}",
        method=method,
        headers=tuple(headers),
        body=body,
        allow_private=store.allow_private,
        ca_pem=store.ca_pem,
        timeout_s=TIMEOUT_S,
        most_bytes=MOST_BYTES,
    )


def _quoted(path: str) -> str:
    return quote(path, safe="/")


# === what is answered ===


class Denied(NoValue):
    """The store does not take the token, or does not let it do this."""


class Lease(msgspec.Struct, frozen=True):
    """A token of the store, and how long it is good. Only ever in memory."""

    token: str
    lasts_s: float | None
    """None: it does not end."""
    renewable: bool = False

    def __repr__(self) -> str:
        return f"Lease(lasts_s={self.lasts_s}, renewable={self.renewable})"


class _Auth(msgspec.Struct):
    client_token: str
    lease_duration: float = 0
    renewable: bool = False


class _LoggedIn(msgspec.Struct):
    auth: _Auth


class _Self(msgspec.Struct):
    ttl: float = 0
    renewable: bool = False


class _LookedUp(msgspec.Struct):
    data: _Self


class _Versioned(msgspec.Struct):
    data: dict[str, object] | None = None


class _Read2(msgspec.Struct):
    data: _Versioned


class _Read1(msgspec.Struct):
    data: dict[str, object]
    lease_duration: float = 0


def read_login(store: SecretStore, values: Mapping[str, str], answer: Answer) -> Lease:
    """Raises NoValue; Denied where the credential is not taken."""
    _check(answer, "the login")
    if isinstance(store.login, TokenLogin):
        found = _decoded(answer, _LookedUp).data
        return Lease(values[store.login.token].strip(), found.ttl or None, found.renewable)
    return _lease(_decoded(answer, _LoggedIn).auth)


def read_renewal(answer: Answer) -> Lease:
    """Raises NoValue; Denied where it cannot be renewed."""
    _check(answer, "the renewal")
    return _lease(_decoded(answer, _LoggedIn).auth)


def _lease(auth: _Auth) -> Lease:
    if not 0 < len(auth.client_token) <= 16 * 1024 or not auth.client_token.isascii():
        raise NoValue("the store gives a token that cannot be used")
    return Lease(auth.client_token, auth.lease_duration or None, auth.renewable)


def read_value(store: SecretStore, source: VaultSource, answer: Answer) -> tuple[str, float]:
    """The value, and in how many seconds it is to be read again. Raises NoValue, Denied."""
    if answer.status == 404:
        raise NoValue(f"there is no {source.path} at the store, or not any more", gone=_is_gone(answer))
    _check(answer, source.path)
    next_s = float(store.refresh_s)
    if store.version == 1:
        found = _decoded(answer, _Read1)
        data: dict[str, object] | None = found.data
        next_s = min(next_s, found.lease_duration) if found.lease_duration > 0 else next_s
    else:
        data = _decoded(answer, _Read2).data.data
    value = data.get(source.key) if data is not None else None
    if value is None:
        raise NoValue(f"{source.path} has no key {source.key}", gone=True)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CHARS:
        raise NoValue(f"{source.key} of {source.path} is no text of 1 to {MAX_CHARS} characters", gone=True)
    return value, max(next_s, 1.0)


class _Absent(msgspec.Struct):
    errors: list[str] | None = None
    data: _Versioned | None = None


def _is_gone(answer: Answer) -> bool:
    """Whether a 404 is the store's word on the secret: of one that never was an empty list of errors, of a version that
    was deleted or destroyed its metadata. A wrong mount has an error, and what stands before a store has pages.
    """
    try:
        said = msgspec.json.decode(answer.body, type=_Absent)
    except msgspec.MsgspecError:
        return False
    return said.data is not None or said.errors == []


def _check(answer: Answer, what: str) -> None:
    """What an error says is not repeated: there may be more in it than an administrator should read."""
    if answer.status == 200:
        return
    if answer.status in (400, 401, 403):
        raise Denied(f"the store refuses {what}: HTTP {answer.status}")
    if answer.status in (301, 302, 307, 308):
        raise NoValue("the store sends elsewhere, as one that is no leader does: name the leader, or what is before it")
    if answer.status == 503:
        raise NoValue("the store is sealed, or down for maintenance: HTTP 503")
    raise NoValue(f"the store does not answer {what}: HTTP {answer.status}")


def _decoded(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.MsgspecError as failure:
        raise NoValue("the store's answer cannot be read: is it a Vault, and of this version?") from failure
