"""The admin RPC that tells what tokens stand for."""

from control_plane.services.revealing import Revealing
from core.admin import Admin
from toolgate.v1 import guard_pb2 as guard


class TokenHandlers:
    def __init__(self, revealing: Revealing) -> None:
        self._revealing = revealing

    async def reveal(self, admin: Admin, request: guard.RevealTokensRequest) -> guard.RevealTokensResponse:
        found = await self._revealing.reveal(admin, request.tenant, list(request.tokens), request.reason)
        return guard.RevealTokensResponse(
            tokens=[
                guard.RevealedToken(token=token, detector=one.detector if one else "", value=one.value if one else "")
                for token, one in found
            ]
        )
