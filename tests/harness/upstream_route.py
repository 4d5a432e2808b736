"""Valid routes to upstreams, for tests to change one thing of."""

from core.call import Era, Outgoing, Route
from core.server import Declared, HttpTransport, StdioTransport, Transport
from core.snapshot import Backend

ECHO = Outgoing(arguments=b'{"text":"hello"}')


def route_to(
    transport: Transport,
    tool: str = "echo",
    *,
    era: Era | None = "modern",
    declared: Declared = "auto",
    tenant: str = "acme",
    server: str = "upstream",
    deadline_s: float = 5.0,
    max_result_bytes: int = 1024 * 1024,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    header_params: tuple[tuple[bytes, bytes], ...] = (),
    env: tuple[tuple[str, str], ...] = (),
) -> Route:
    backend = Backend(server=server, transport=transport, declared=declared, era=era, max_result_bytes=max_result_bytes)
    return Route(
        tenant=tenant,
        backend=backend,
        tool=tool,
        headers=headers,
        header_params=header_params,
        env=env,
        deadline_s=deadline_s,
    )


def over_http(url: str, *, max_connections: int = 256, ca_pem: str = "") -> HttpTransport:
    return HttpTransport(url=url, allow_private=True, max_connections=max_connections, ca_pem=ca_pem)


def as_program(*command: str, **settings: int | str) -> StdioTransport:
    return StdioTransport(command=list(command), **settings)  # type: ignore[arg-type]
