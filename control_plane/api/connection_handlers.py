"""What each RPC about accounts at servers does."""

from control_plane.api.envelope import timestamp_of
from control_plane.services.connections import Accounts
from core.admin import Admin
from core.connection import Connection
from toolgate.v1 import connections_pb2 as messages


class ConnectionHandlers:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def list(self, admin: Admin, request: messages.ListConnectionsRequest) -> messages.ListConnectionsResponse:
        found = await self._accounts.list(admin, request.tenant, request.server)
        return messages.ListConnectionsResponse(connections=[_connection(one) for one in found])

    async def link(self, admin: Admin, request: messages.LinkConnectionRequest) -> messages.LinkConnectionResponse:
        url = await self._accounts.link(admin, request.tenant, request.server, request.subject)
        return messages.LinkConnectionResponse(url=url)

    async def disconnect(self, admin: Admin, request: messages.DisconnectRequest) -> messages.DisconnectResponse:
        revoked = await self._accounts.disconnect(admin, request.tenant, request.server, request.subject)
        return messages.DisconnectResponse(revoked=revoked)


def _connection(one: Connection) -> messages.Connection:
    return messages.Connection(
        server=one.server,
        subject=one.subject,
        state=one.state,
        issuer=one.issuer,
        scopes=one.scopes,
        error=one.error,
        expires_at=timestamp_of(one.expires_unix) if one.expires_unix is not None else None,
        updated_at=timestamp_of(one.updated_unix),
    )
