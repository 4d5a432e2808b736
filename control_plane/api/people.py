"""The admin RPCs about who signs in: users' passwords, and the keys of the tenant's own issuer."""

from control_plane.oauth.issuers import OwnIssuers
from control_plane.services.passwords import UserPasswords
from core.admin import Admin
from toolgate.v1 import people_pb2 as people


class PasswordHandlers:
    def __init__(self, passwords: UserPasswords) -> None:
        self._passwords = passwords

    async def set(self, admin: Admin, request: people.SetPasswordRequest) -> people.SetPasswordResponse:
        await self._passwords.set(
            admin, request.tenant, request.user, request.password, email_verified=request.email_verified
        )
        return people.SetPasswordResponse()

    async def clear(self, admin: Admin, request: people.ClearPasswordRequest) -> people.ClearPasswordResponse:
        await self._passwords.clear(admin, request.tenant, request.user)
        return people.ClearPasswordResponse()


class IssuerHandlers:
    def __init__(self, issuers: OwnIssuers) -> None:
        self._issuers = issuers

    async def rotate_keys(
        self, admin: Admin, request: people.RotateIssuerKeysRequest
    ) -> people.RotateIssuerKeysResponse:
        return people.RotateIssuerKeysResponse(ids=await self._issuers.rotate(admin, request.tenant))
