"""Valid-by-default values for tests of single stages."""

from core.call import Inbound, Permit
from core.identity import Caller
from core.snapshot import CompiledTool


def caller(user: str = "ann", agent: str = "bot", tenant: str = "acme") -> Caller:
    return Caller(
        tenant=tenant,
        user=user,
        agent=agent,
        credential="key:k",
        endpoints=frozenset(),
        expires_unix=float("inf"),
        policy_class=b"",
    )


def tool(name: str = "echo", server: str = "files") -> CompiledTool:
    return CompiledTool(name=name, server=server, upstream_name=name, definition=b"{}", digest=b"")


def permit(name: str = "echo", endpoint: str = "default") -> Permit:
    return Permit(caller=caller(), endpoint=endpoint, tool=tool(name), reasons=())


def inbound(
    name: str = "echo", arguments: bytes = b"{}", method: str = "tools/call", endpoint: str = "default"
) -> Inbound:
    return Inbound(
        id="1",
        tenant="acme",
        endpoint=endpoint,
        transport="streamable_http",
        era="modern",
        revision="2026-07-28",
        method=method,
        credential=b"",
        name=name,
        arguments=arguments,
    )
