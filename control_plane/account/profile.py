"""What people see and change of themselves. Not their address: providers' users are found by it."""

import msgspec

from control_plane.account.keys import in_own_name
from control_plane.account.said import Changes, Profile
from control_plane.account.sessions import Session
from control_plane.browser.sign_in import SignIn
from control_plane.services.authority import absent
from control_plane.services.passwords import UserPasswords
from control_plane.services.resources import Resources
from core.admin import Draft, Rejected, Why
from core.identity import User
from core.oauth.stores import People
from core.resource import Problem, Ref, Resource
from core.store import Store


class Profiles:
    """Every method raises Rejected."""

    def __init__(
        self, store: Store, people: People, resources: Resources, passwords: UserPasswords, sign_in: SignIn
    ) -> None:
        self._store = store
        self._people = people
        self._resources = resources
        self._passwords = passwords
        self._sign_in = sign_in

    async def get(self, session: Session) -> Profile:
        found, spec = await self._user(session)
        password = await self._people.password(session.tenant, session.user)
        return Profile(
            tenant=session.tenant,
            user=found.name,
            display_name=spec.display_name,
            email=spec.email,
            email_verified=password is not None and password.email_verified,
            groups=spec.groups,
            has_password=password is not None,
        )

    async def put(self, session: Session, wanted: Changes, address: str) -> Profile:
        """A wrong current password counts as an attempt to sign in."""
        found, spec = await self._user(session)
        if wanted.new_password:
            await self._change_password(session, wanted, address)
        if wanted.display_name is not None and wanted.display_name != spec.display_name:
            changed = msgspec.structs.replace(spec, display_name=wanted.display_name)
            draft = Draft(
                kind="User",
                tenant=session.tenant,
                name=found.name,
                namespace=found.namespace,
                labels=found.labels,
                spec=msgspec.to_builtins(changed),
                generation=found.generation,
            )
            await self._resources.apply(in_own_name(session), draft)
        return await self.get(session)

    async def _change_password(self, session: Session, wanted: Changes, address: str) -> None:
        tenant, user = session.tenant, session.user
        try:
            await self._sign_in.check(tenant, user, wanted.current_password, address, verified=False)
        except Rejected as refused:
            if refused.why is not Why.UNAUTHENTICATED:
                raise
            # The access token was good: only this is not.
            problem = Problem("current_password", "is not right, or there were too many attempts")
            raise Rejected(Why.INVALID, "the password is not changed", [problem]) from refused
        password = await self._people.password(tenant, user)
        verified = password is not None and password.email_verified
        try:
            await self._passwords.set(in_own_name(session), tenant, user, wanted.new_password, email_verified=verified)
        except Rejected as refused:
            told = [Problem(f"new_{p.path}", p.rule) if p.path == "password" else p for p in refused.problems]
            raise Rejected(refused.why, refused.public, told) from refused

    async def _user(self, session: Session) -> tuple[Resource, User]:
        ref = Ref("User", session.tenant, session.user)
        found = await self._store.get(ref)
        if found is None or not isinstance(found.spec, User):
            raise absent(ref)
        return found, found.spec
