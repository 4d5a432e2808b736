"""Which paths lead somewhere."""

import pytest

from data_plane.fronts.address import LEAVES, Address, address


@pytest.mark.parametrize("leaf", sorted(LEAVES))
@pytest.mark.parametrize(
    ("prefix", "tenant", "endpoint", "server"),
    [
        ("", None, "default", ""),
        ("/acme/tools", "acme", "tools", ""),
        ("/servers/time", None, "default", "time"),
        ("/acme/tools/servers/time", "acme", "tools", "time"),
        ("/servers/tools", None, "default", "tools"),
    ],
)
def test_every_transport_is_at_every_prefix(
    prefix: str, tenant: str | None, endpoint: str, server: str, leaf: str
) -> None:
    found = address(f"{prefix}/{leaf}")
    assert found == Address(tenant, endpoint, server, leaf)
    assert found.prefix == prefix


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "mcp",
        "/acme",
        "/acme/mcp",
        "/acme/tools",
        "/acme/tools/mcp/",
        "/acme/tools/other",
        "//tools/mcp",
        "/acme//mcp",
        "/a/b/c/mcp",
        "/acme/tools/servers/mcp",
        "/acme/tools/servers//mcp",
        "/acme/tools/servers/a/b/mcp",
        "/ACME/tools/mcp",
        "/acme/../mcp",
        "/acme/tools/rpc/other",
        "/batch",
    ],
)
def test_no_other_path_leads_anywhere(path: str) -> None:
    assert address(path) is None
