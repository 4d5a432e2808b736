"""Whose certificate counts where a proxy is in between."""

import pytest

from core.certificate import Shown
from core.forwarded import Proxies
from data_plane.fronts.asgi import SHOWN, Receive, Scope, Send
from data_plane.fronts.proxies import BehindProxies

OWN = Shown(chain=(b"the proxy's own",), thumbprint="t", mark=b"m")


class App:
    """Keeps the scope it was called with."""

    def __init__(self) -> None:
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope

    def abandon(self) -> None: ...


async def nothing(*_: object) -> dict[str, object]:
    return {}


@pytest.mark.parametrize(("address", "counts"), [("10.0.0.1", False), ("192.0.2.7", True)])
async def test_the_certificate_of_a_proxy_that_is_trusted_for_addresses_is_no_callers(
    address: str, counts: bool
) -> None:
    app = App()
    proxies = BehindProxies(app, Proxies(("10.0.0.0/8",), "x-forwarded-for"))
    await proxies({"client": (address, 1), "headers": [], SHOWN: OWN}, nothing, nothing)
    assert (SHOWN in app.scope) is counts
