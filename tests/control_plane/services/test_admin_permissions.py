"""Roles that grant verbs of the admin API: held through bindings by name, and refused without telling what is there."""

import asyncio

import pytest

from control_plane.services.call_approvals import CallApprovals
from core.admin import Admin, Outcome, Rejected, Why
from core.identity import AdminPermission
from core.resource import Ref
from tests.control_plane.services.conftest import Plane, admin_of

TOOLS = {"permissions": [{"tools": ["*"]}]}
LEAD = {
    "permissions": [],
    "admin": [
        {"verbs": ["get", "list"], "kinds": ["Role", "Policy"]},
        {"verbs": ["apply", "delete"], "kinds": ["Role"], "names": ["support-*"]},
        {"verbs": ["get", "list", "apply", "delete"], "kinds": ["User"], "labels": {"team": "support"}},
    ],
}
BOUND = {"role": "lead", "subjects": [{"kind": "user", "name": "bob"}]}


async def declared(plane: Plane) -> None:
    await plane.apply("Tenant", "acme", {})
    await plane.apply("User", "bob", {})
    await plane.apply("Role", "lead", LEAD)
    await plane.apply("RoleBinding", "leads", BOUND)


async def key(plane: Plane, name: str = "bobs", **spec: object) -> str:
    owner = admin_of("acme")
    return await plane.keys.issue(owner, "acme", name, {"admin_role": "bound", "user": "bob", **spec})


async def lead(plane: Plane) -> Admin:
    await declared(plane)
    return await plane.access.identify(await key(plane))


def refused(rejected: pytest.ExceptionInfo[Rejected]) -> tuple[Why, str]:
    return rejected.value.why, rejected.value.public


async def test_a_bound_key_does_what_its_users_roles_allow_and_nothing_else(plane: Plane) -> None:
    admin = await lead(plane)
    assert (await plane.apply("Role", "support-one", TOOLS, admin=admin)).outcome is Outcome.CREATED
    assert (await plane.resources.get(admin, "Role", "acme", "lead")).name == "lead"
    await plane.resources.delete(admin, "Role", "acme", "support-one")
    for kind, name, spec in (("Role", "sales", TOOLS), ("Policy", "night", {"rego": "x"}), ("Namespace", "n", {})):
        with pytest.raises(Rejected) as rejected:
            await plane.apply(kind, name, spec, admin=admin)
        assert refused(rejected)[0] is Why.DENIED
        assert f"the permission apply on {kind}/{name}" in rejected.value.public
    with pytest.raises(Rejected, match="permission delete on Role/lead"):
        await plane.resources.delete(admin, "Role", "acme", "lead")
    with pytest.raises(Rejected, match="permission list on Server"):
        await plane.resources.list(admin, "Server", "acme")


async def test_what_is_refused_sounds_alike_whether_it_is_there_or_not(plane: Plane) -> None:
    admin = await lead(plane)
    await plane.apply("User", "ada", {}, labels={"team": "sales"})
    await plane.apply("User", "sam", {}, labels={"team": "support"})
    said = set()
    for name in ("ada", "zoe"):
        for act in (
            plane.resources.get(admin, "User", "acme", name),
            plane.resources.delete(admin, "User", "acme", name),
            plane.resources.get(admin, "Secret", "acme", name),
        ):
            with pytest.raises(Rejected) as rejected:
                await act
            why, text = refused(rejected)
            said.add((why, text.replace(name, "NAME")))
    assert len(said) == 3
    assert {why for why, _ in said} == {Why.DENIED}
    listed = await plane.resources.list(admin, "User", "acme")
    assert [one.name for one in listed.resources] == ["sam"]
    with pytest.raises(Rejected, match="Tenant/globex does not exist"):
        await plane.resources.list(admin, "User", "globex")


async def test_labels_must_fit_before_and_after(plane: Plane) -> None:
    admin = await lead(plane)
    await plane.apply("User", "ada", {}, labels={"team": "sales"})
    await plane.apply("User", "new", {}, labels={"team": "support"}, admin=admin)
    for name, labels in (("ada", {"team": "support"}), ("new", {"team": "sales"}), ("other", {})):
        with pytest.raises(Rejected) as rejected:
            await plane.apply("User", name, {}, labels=labels, admin=admin)
        assert rejected.value.why is Why.DENIED
    await plane.resources.delete(admin, "User", "acme", "new")


async def test_permissions_add_to_a_viewers_and_end_with_binding_user_or_role(plane: Plane) -> None:
    await declared(plane)
    viewer = await key(plane, "viewers", admin_role="viewer")

    async def tries() -> None:
        plane.clock.now += 1
        admin = await plane.access.identify(viewer)
        assert (await plane.resources.list(admin, "Server", "acme")).resources == []
        await plane.apply("Role", "support-one", TOOLS, admin=admin, dry_run=True)

    async def may_not() -> None:
        with pytest.raises(Rejected) as rejected:
            await tries()
        assert rejected.value.why is Why.DENIED

    await tries()
    await plane.apply("User", "bob", {"disabled": True})
    await may_not()
    await plane.apply("User", "bob", {})
    await tries()
    await plane.apply("RoleBinding", "leads", {**BOUND, "subjects": [{"kind": "group", "name": "staff"}]})
    await plane.apply("User", "bob", {"groups": ["staff"]})
    # Whoever says who is in a group would say who administers.
    await may_not()


async def test_only_owners_say_what_a_role_may_do_here_and_who_has_it(plane: Plane) -> None:
    admin = await lead(plane)
    editor = admin_of("acme", "editor")
    more = {"permissions": [], "admin": [{"verbs": ["apply"], "kinds": ["*"]}]}
    for who in (editor, admin):
        for kind, name, spec, path in (
            ("Role", "support-more", more, "spec.admin"),
            ("RoleBinding", "mine", {**BOUND, "subjects": [{"kind": "user", "name": "bob"}]}, "spec.role"),
        ):
            if who is admin and kind == "RoleBinding":
                continue
            with pytest.raises(Rejected) as rejected:
                await plane.apply(kind, name, spec, admin=who)
            assert [problem.path for problem in rejected.value.problems] == [path]
    await plane.apply("Role", "plain", TOOLS)
    with pytest.raises(Rejected):
        await plane.apply("RoleBinding", "leads", {**BOUND, "role": "plain"}, admin=editor)
    await plane.apply("RoleBinding", "others", {**BOUND, "role": "plain"}, admin=editor)
    owner = admin_of("acme")
    await plane.apply("Role", "support-more", more, admin=owner)
    await plane.apply("RoleBinding", "mine", {**BOUND, "role": "support-more"}, admin=owner)
    plane.clock.now += 1
    everything = await plane.access.identify(await key(plane, "another"))
    for kind in ("ApiKey", "Tenant"):
        with pytest.raises(Rejected) as rejected:
            await plane.apply(kind, "mine", {"admin_role": "owner"}, admin=everything)
        assert rejected.value.why is Why.DENIED


class NoApprovals:
    """ApprovalRows in which nothing waits."""

    async def get(self, tenant: str, id: str, now: float) -> None:  # noqa: A002
        return None


async def test_approving_is_a_permission_too(plane: Plane) -> None:
    admin = await lead(plane)
    approvals = CallApprovals(NoApprovals(), plane.store, clock=plane.clock)  # type: ignore[arg-type]
    with pytest.raises(Rejected, match="permission approve on Approval"):
        await approvals.settle(admin, "acme", "x", approve=True, reason="")
    with pytest.raises(Rejected, match="permission list on Approval"):
        await approvals.list(admin, "acme")
    approver = Admin(
        admin.name, admin.tenant, "bound", "bob", (AdminPermission(verbs=["approve"], kinds=["Approval"]),)
    )
    with pytest.raises(Rejected, match="Approval/x does not exist"):
        await approvals.settle(approver, "acme", "x", approve=True, reason="")


async def test_a_watcher_sees_what_it_may_list_and_ends_when_that_changes(plane: Plane) -> None:
    admin = await lead(plane)
    await plane.apply("User", "ada", {}, labels={"team": "sales"})
    await plane.apply("User", "sam", {}, labels={"team": "support"})
    running = asyncio.create_task(plane.watch.run())
    events = plane.watch.watch(admin, "", "acme")
    seen = []
    while (event := await anext(events)).type != "synced":
        assert event.resource is not None
        seen.append(event.resource.ref)
    assert set(seen) == {Ref("User", "acme", "sam"), Ref("Role", "acme", "lead")}
    await plane.apply("RoleBinding", "leads", {**BOUND, "role": "lead", "subjects": []})
    with pytest.raises(Rejected, match="begin the watch again"):
        async with asyncio.timeout(5):
            await anext(events)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
