"""Keys as people live with them: narrowed, rotated while programs still hold the old one, ended at once."""

import asyncio
import json
import time
from urllib.request import Request, urlopen

import pytest

from tests.behaviour.conftest import World
from tests.harness.planes import CommandFailed, until

NAMESPACED = """
{kind: Namespace, tenant: acme, name: support, spec: {}}
---
{kind: Endpoint, tenant: acme, name: helpdesk, namespace: support, spec: {members: [{server: odd}], scopes: [mcp]}}
"""


async def create(world: World, name: str, *flags: str) -> str:
    words = ("key", "create", "--tenant", "acme", "--name", name, *flags, "-o", "json")
    return str(json.loads(await world.planes.toolgate(*words))["key"])


async def status(world: World, key: str, path: str = "/acme/default/mcp") -> int:
    return (await world.agent(key, path).call("echo", text="hi")).status


def revoke(world: World, name: str) -> None:
    """As the command does, without the time that it takes to start and end."""
    planes = world.planes
    request = Request(f"http://127.0.0.1:{planes.admin_port}/v1/tenants/acme/apikeys/{name}:revoke", b"{}")
    request.add_header("authorization", f"Bearer {(planes.folder / 'admin.token').read_text().strip()}")
    request.add_header("content-type", "application/json")
    with urlopen(request, timeout=10) as answer:
        assert answer.status == 200


async def good(world: World, key: str) -> bool:
    return await status(world, key) == 200


async def test_a_rotated_key_goes_on_for_its_overlap_and_not_a_moment_longer(world: World) -> None:
    old = world.key
    words = ("key", "rotate", "--tenant", "acme", "--name", "helper-ada", "--overlap", "6s", "-o", "json")
    new = str(json.loads(await world.planes.toolgate(*words))["key"])
    ends = time.monotonic() + 6
    await until(lambda: good(world, new), "the new key")
    if time.monotonic() < ends - 1:
        assert await good(world, old)

    async def ended() -> bool:
        return await status(world, old) == 401

    await until(ended, "the old key ended", limit_s=20)
    assert time.monotonic() > ends - 1
    assert await good(world, new)
    said = await world.planes.status("acme", "apikey", "helper-ada")
    assert said["previous_until"]
    newer = str(json.loads(await world.planes.toolgate(*(*words[:6], "-o", "json")))["key"])
    await until(lambda: good(world, newer), "the newest key")

    async def replaced() -> bool:
        return await status(world, new) == 401

    await until(replaced, "without an overlap the one before ended")
    assert "previous_until" not in await world.planes.status("acme", "apikey", "helper-ada")


async def test_a_key_that_is_revoked_ends_within_a_second_with_the_one_it_took_the_place_of(world: World) -> None:
    words = ("key", "rotate", "--tenant", "acme", "--name", "helper-ada", "--overlap", "1h", "-o", "json")
    new = str(json.loads(await world.planes.toolgate(*words))["key"])
    await until(lambda: good(world, new), "the new key")
    assert await good(world, world.key)
    began = time.monotonic()
    await asyncio.to_thread(revoke, world, "helper-ada")

    async def ended() -> bool:
        return [await status(world, key) for key in (new, world.key)] == [401, 401]

    await until(ended, "both keys ended")
    took = time.monotonic() - began
    assert took < 1, f"a second is promised; it took {took:.2f} s"


async def test_a_key_opens_endpoints_of_its_namespaces_and_has_the_scopes_it_was_given(world: World) -> None:
    await world.planes.apply(NAMESPACED)
    who = ("--user", "ada", "--agent", "helper")
    inside = await create(world, "inside", *who, "--in-namespace", "support", "--scope", "mcp")
    less = await create(world, "less", *who, "--scope", "other")
    both = await create(world, "both", *who, "--in-namespace", "support", "--endpoint", "default")
    helpdesk = "/acme/helpdesk/mcp"

    async def opened() -> bool:
        return await status(world, inside, helpdesk) == 200

    await until(opened, "the endpoint in the namespace")
    assert await status(world, inside) == 404
    assert await status(world, less) == 200
    assert await status(world, less, helpdesk) == 403
    assert await status(world, world.key, helpdesk) == 200, "a key without scopes is narrowed by none"
    assert [await status(world, both, path) for path in (helpdesk, "/acme/default/mcp")] == [404, 404]
    with pytest.raises(CommandFailed) as refused:
        await world.planes.toolgate("delete", "namespace", "support", "--tenant", "acme")
    assert "ApiKey/" in refused.value.output


async def test_a_key_for_the_authorization_server_alone_opens_nothing_at_a_gateway(world: World) -> None:
    a2a = await create(world, "a2a", "--agent", "helper", "--a2a")
    other = await create(world, "plain", "--agent", "helper", "--user", "ada")
    await until(lambda: good(world, other), "a key made after it")
    assert await status(world, a2a) == 401
    for flags in (("--user", "ada", "--a2a"), ("--agent", "helper", "--a2a", "--endpoint", "default")):
        with pytest.raises(CommandFailed) as refused:
            await create(world, "bad", *flags)
        assert "spec.a2a" in refused.value.output


async def test_whoever_may_not_issue_keys_may_not_say_whose_tokens_count_either(world: World) -> None:
    editor = await create(world, "editor", "--admin-role", "editor")
    manifest = "{kind: IdentityProvider, tenant: acme, name: mine, spec: {issuer: 'https://evil.example', users: any}}"
    with pytest.raises(CommandFailed) as refused:
        await world.planes.toolgate("apply", "-f", "-", "--token", editor, stdin=manifest)
    assert "needs the role owner" in refused.value.output
    owner = await create(world, "owner", "--admin-role", "owner")
    private = manifest.replace("users: any", "allow_private: true")
    with pytest.raises(CommandFailed) as refused:
        await world.planes.toolgate("apply", "-f", "-", "--token", owner, stdin=private)
    assert "spec.allow_private" in refused.value.output
