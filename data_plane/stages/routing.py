"""Where a permitted call goes: its server, the headers it carries, the time it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.call import Clean, Inbound, Permit, Route
from core.errors import NotConnected, Reason, Refused, Unavailable
from core.mcp.headers import param_headers, param_mismatch
from core.onbehalf import OWN, subject_of
from core.server import Remote
from core.snapshot import CompiledTool, token_key
from data_plane.upstreams.upstream import PROOF_KEY

if TYPE_CHECKING:
    from core.call import Target
    from core.identity import Caller
    from core.server import Transport
    from core.snapshot import Backend, SignIn, Token
    from data_plane.snapshots import TenantSnapshot


def choose(inbound: Inbound, permit: Permit, clean: Clean, snapshot: TenantSnapshot, now_unix: float) -> Route:
    """Raises Refused(HEADER_MISMATCH) where `Mcp-Param-*` and arguments differ, Unavailable(UPSTREAM_UNAVAILABLE)
    for a server nobody has seen yet, NotConnected for one that takes only tokens the caller has none of.
    """
    tool = permit.tool
    backend = snapshot.backends[tool.server]
    if backend.era is None:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, f"The server of {tool.name} has not been reached yet.")
    params = tool.header_params if inbound.method == "tools/call" and isinstance(tool, CompiledTool) else {}
    stated = inbound.header_params
    if inbound.era == "modern" and stated is not None and (params or stated):
        problem = param_mismatch(stated, params, inbound.arguments)
        if problem:
            raise Refused(Reason.HEADER_MISMATCH, problem)
    mirrored = param_headers(params, clean.arguments) if params else ()
    carried = snapshot.carried.get(tool.server)
    if carried is None:
        if backend.sign_in is None:
            carried = snapshot.carried[tool.server] = carried_by(backend.transport, snapshot.secrets.values)
        else:
            carried = _signed_in(backend, backend.sign_in, permit.caller, snapshot, now_unix)
    return Route(
        tenant=snapshot.tenant,
        backend=backend,
        tool=inbound.name if inbound.task else tool.upstream_name,
        headers=carried[0],
        header_params=mirrored,
        env=carried[1],
        deadline_s=tool.timeout_s if inbound.deadline_s is None else min(tool.timeout_s, inbound.deadline_s),
    )


def towards(target: Target, snapshot: TenantSnapshot, name: str = "") -> Route:
    """The way to a target's server, for something else than a call. `name`: instead of the target's own.

    Raises Unavailable(UPSTREAM_UNAVAILABLE).
    """
    backend = snapshot.backends[target.server]
    if backend.era is None:
        raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, f"The server of {target.name} has not been reached yet.")
    headers, env = carried_by(backend.transport, snapshot.secrets.values)
    if backend.sign_in is not None:
        headers += bearing(snapshot.tokens.get(token_key(backend.server, backend.sign_in.look_as)))
    return Route(tenant=snapshot.tenant, backend=backend, tool=name or target.upstream_name, headers=headers, env=env)


Carried = tuple[tuple[tuple[bytes, bytes], ...], tuple[tuple[str, str], ...]]
"""HTTP headers and child environment of a server, secrets filled in."""


def _signed_in(backend: Backend, sign_in: SignIn, caller: Caller, snapshot: TenantSnapshot, now_unix: float) -> Carried:
    key = token_key(backend.server, subject_of(caller.user, caller.agent) if sign_in.per_caller else OWN)
    token = snapshot.tokens.get(key)
    if token is None or (token.expires_unix is not None and token.expires_unix <= now_unix):
        if sign_in.per_caller:
            raise NotConnected
        raise Unavailable(
            Reason.UPSTREAM_UNAVAILABLE,
            "The server's credential is missing.",
            detail="no token: see the server's status",
        )
    carried = snapshot.signed_in.get(key)
    if carried is None:
        headers, env = carried_by(backend.transport, snapshot.secrets.values)
        carried = snapshot.signed_in[key] = (headers + bearing(token), env)
    return carried


def bearing(token: Token | None) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that present a token; none for None."""
    if token is None:
        return ()
    authorization = (b"Authorization", f"{token.scheme} {token.value}".encode())
    return (authorization, (PROOF_KEY, token.proof_key)) if token.proof_key else (authorization,)


def carried_by(transport: Transport, secrets: dict[str, str]) -> Carried:
    """What every request to a server carries.

    Raises Unavailable(UPSTREAM_UNAVAILABLE) for a secret that is missing, or that no header can hold.
    """
    if isinstance(transport, Remote):
        values = {**transport.headers, **_filled(transport.secret_headers, secrets)}
        return tuple((name.encode("ascii"), _header_value(name, value)) for name, value in values.items()), ()
    return (), tuple({**transport.env, **_filled(transport.secret_env, secrets)}.items())


def _header_value(name: str, value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise Unavailable(
            Reason.UPSTREAM_UNAVAILABLE, "The server's credential cannot be sent.", detail=f"{name} is not Latin-1"
        ) from None


def _filled(wanted: dict[str, str], secrets: dict[str, str]) -> dict[str, str]:
    missing = [name for name in wanted.values() if name not in secrets]
    if missing:
        raise Unavailable(
            Reason.UPSTREAM_UNAVAILABLE, "The server's credential is missing.", detail=f"secret {missing[0]}"
        )
    return {place: secrets[name] for place, name in wanted.items()}
