"""Users' passwords, as administrators set them."""

import time
from collections.abc import Callable, Iterator

from control_plane.browser.sign_in import PASSWORD_MAX, PASSWORD_MIN, SignIn
from control_plane.services.authority import absent, need, see_tenant
from control_plane.services.resources import change_entry
from core.admin import Admin, Rejected, Why
from core.identity import User
from core.oauth.stores import People
from core.resource import Problem, Ref
from core.store import Store


class UserPasswords:
    """Owners only: whoever sets a password can be the user. Either verb ends the user's sessions and refresh tokens."""

    def __init__(
        self, store: Store, people: People, sign_in: SignIn, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._people = people
        self._sign_in = sign_in
        self._clock = clock

    async def set(self, admin: Admin, tenant: str, user: str, password: str, *, email_verified: bool) -> None:
        """Raises Rejected."""
        ref = await self._user(admin, tenant, user)
        problems = list(_problems(password, user))
        if problems:
            raise Rejected(Why.INVALID, "the password is not valid", problems)
        hashed = await self._sign_in.hashed(password, email_verified=email_verified)
        detail: dict[str, object] = {"email_verified": email_verified}
        entry = change_entry(admin, ref, "password set", detail, self._clock())
        await self._people.set_password(tenant, user, hashed, entry)

    async def clear(self, admin: Admin, tenant: str, user: str) -> None:
        """Raises Rejected. That there was none is no error."""
        ref = await self._user(admin, tenant, user)
        await self._people.set_password(
            tenant, user, None, change_entry(admin, ref, "password cleared", {}, self._clock())
        )

    async def _user(self, admin: Admin, tenant: str, user: str) -> Ref:
        see_tenant(admin, tenant)
        need(admin, "owner")
        ref = Ref("User", tenant, user)
        found = await self._store.get(ref)
        if found is None or not isinstance(found.spec, User):
            raise absent(ref)
        return ref


def _problems(password: str, user: str) -> Iterator[Problem]:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        yield Problem("password", f"must be {PASSWORD_MIN}-{PASSWORD_MAX} letters")
    elif user in password.lower() or len(set(password)) < 5:
        yield Problem("password", "must not hold the user's name, nor be a few letters repeated")
