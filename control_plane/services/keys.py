"""Keys are issued, shown once, and revoked; what is declared of them is the ApiKey resource."""

import time
from collections.abc import Callable, Mapping

import msgspec

from control_plane.services.access import issued_status, new_key
from control_plane.services.authority import absent, may_write, no_tenant
from control_plane.services.resources import change_entry, spec_references
from control_plane.services.secrets import Vault
from core.admin import Admin, Rejected, Why
from core.identity import ApiKey
from core.resource import Problem, Ref, Resource
from core.store import Put, Store, Writing
from core.validate import decode, envelope

MAX_OVERLAP_S = 30 * 86400


class Keys:
    def __init__(self, store: Store, vault: Vault, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock

    async def issue(
        self,
        admin: Admin,
        tenant: str,
        name: str,
        spec: dict[str, object],
        *,
        rotate: bool = False,
        overlap_s: int = 0,
        born_with: Mapping[str, str] | None = None,
    ) -> str:
        """The key's text, `tgk_<tenant>_<key id>_<secret>`; it is kept nowhere. Raises Rejected.

        A name that has a key already needs `rotate`, which ends the old key, `overlap_s` from now. An empty `spec`
        keeps the declared one. `born_with`: labels of a key that must be new, declared or not.
        """
        ref = Ref("ApiKey", tenant, name)
        may_write(admin, ref)
        problems = list(envelope("ApiKey", tenant, name, "", {}))
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            problems.append(Problem("overlap_s", f"must be 0-{MAX_OVERLAP_S}: thirty days at most"))
        if overlap_s and not rotate:
            problems.append(Problem("overlap_s", "is for keys that are rotated"))
        if problems:
            raise Rejected(Why.INVALID, f"{ref} is not valid", problems)
        async with self._store.writing(tenant) as writing:
            owner = Ref("Tenant", "", tenant)
            sealed = await writing.sealed(owner)
            if sealed is None:
                raise no_tenant(tenant)
            keys = self._vault.open_keys(owner, sealed)
            current = await writing.get(ref)
            if current is not None and (born_with is not None or (current.status.get("issued") and not rotate)):
                raise Rejected(Why.CONFLICT, f"{ref} has a key already: ask to rotate it, or take another name")
            declared = await _declared(writing, ref, spec, current)
            now = self._clock()
            text, issued = new_key(tenant, keys.pepper, now)
            if overlap_s and current is not None and current.status.get("issued"):
                issued = msgspec.structs.replace(issued, overlap_until_unix=now + overlap_s)
            resource = _next(ref, declared, current, now)
            if born_with is not None:
                resource = msgspec.structs.replace(resource, labels=dict(born_with))
            status = issued_status(issued)
            put = Put(resource=resource, references=tuple(spec_references(resource)), key=issued, status=status)
            detail: dict[str, object] = {"generation": resource.generation, "key_id": issued.key_id, "rotated": rotate}
            if issued.overlap_until_unix is not None:
                detail["overlap_s"] = overlap_s
            await writing.put(put, change_entry(admin, ref, "issued", detail, now))
        return text

    async def revoke(self, admin: Admin, tenant: str, name: str) -> None:
        """Gateways refuse the key as soon as they hold the next snapshot. Revoking twice is no error."""
        ref = Ref("ApiKey", tenant, name)
        may_write(admin, ref)
        async with self._store.writing(tenant) as writing:
            current = await writing.get(ref)
            if current is None:
                raise absent(ref)
            assert isinstance(current.spec, ApiKey)
            if current.spec.revoked:
                return
            now = self._clock()
            resource = _next(ref, msgspec.structs.replace(current.spec, revoked=True), current, now)
            put = Put(resource=resource, references=tuple(spec_references(resource)))
            detail: dict[str, object] = {"generation": resource.generation}
            await writing.put(put, change_entry(admin, ref, "revoked", detail, now))


async def _declared(writing: Writing, ref: Ref, raw: dict[str, object], current: Resource | None) -> ApiKey:
    """The spec to issue for. Raises Rejected with everything wrong."""
    problems: list[Problem] = []
    spec = current.spec if current is not None and not raw else None
    if spec is None:
        spec, problems = decode(ApiKey, raw)
    if not isinstance(spec, ApiKey):
        raise Rejected(Why.INVALID, f"{ref} is not valid", problems)
    named = [(path, msgspec.structs.replace(to, tenant=ref.tenant)) for path, to in spec.references()]
    there = await writing.existing({to for _, to in named})
    problems += [Problem(path, f"{to} does not exist") for path, to in named if to not in there]
    if spec.revoked:
        problems.append(Problem("spec.revoked", "must not be set for a key that is being issued"))
    if problems:
        raise Rejected(Why.INVALID, f"{ref} is not valid", problems)
    return spec


def _next(ref: Ref, spec: ApiKey, current: Resource | None, now: float) -> Resource:
    if current is not None:
        return msgspec.structs.replace(current, spec=spec, generation=current.generation + 1, updated_unix=now)
    return Resource(
        kind=ref.kind, tenant=ref.tenant, name=ref.name, spec=spec, generation=1, created_unix=now, updated_unix=now
    )
