"""Tokens in a snapshot: in sealed shards, each sent again only where something in it is another."""

from dataclasses import replace

import msgspec
import pytest

from adapters.crypto.sealing import AesGcmSealer
from control_plane.compiler.compile import compile_tenant
from control_plane.compiler.source import Compiled, SealShard
from core.resource import Problem
from core.sealing import SealBroken
from core.snapshot import (
    OpenTokens,
    Token,
    Tokens,
    token_key,
    token_shard,
    token_shards,
    tokens_context,
)
from data_plane.supervisor.check import inspect
from tests.control_plane.compiler.sources import seal, source

KEY = bytes(range(32))


def sealing(last: dict[str, tuple[bytes, bytes]]) -> SealShard:
    """As the publisher: what is the same inside is the same outside. `last`: shard to plain and sealed bytes."""

    def seal_shard(shard: str, plain: bytes) -> bytes:
        before = last.get(shard)
        if before is None or before[0] != plain:
            last[shard] = (plain, AesGcmSealer().seal(KEY, plain, tokens_context("acme", shard)))
        return last[shard][1]

    return seal_shard


def compiled(tokens: dict[str, Token], last: dict[str, tuple[bytes, bytes]]) -> Compiled:
    result = compile_tenant(replace(source(), tokens=tokens), seal, sealing(last))
    assert isinstance(result, Compiled)
    return result


def shards(result: Compiled) -> dict[str, bytes]:
    return {ref.name: ref.digest for ref in result.manifest.parts if ref.kind == "tokens"}


def some(count: int) -> dict[str, Token]:
    return {token_key("clock", f"user/u{n}"): Token("Bearer", f"t{n}", 2e9) for n in range(count)}


def test_a_tenant_without_tokens_has_no_part_for_them() -> None:
    assert shards(compiled({}, {})) == {}


def test_every_token_is_in_the_shard_its_key_says() -> None:
    tokens = some(1000)
    result = compiled(tokens, {})
    found: dict[str, Token] = {}
    for name, digest in shards(result).items():
        sealed = msgspec.msgpack.decode(result.parts[digest], type=Tokens).sealed
        plain = AesGcmSealer().open(KEY, sealed, tokens_context("acme", name))
        opened = msgspec.msgpack.decode(plain, type=OpenTokens).tokens
        assert all(token_shard(key, token_shards(len(tokens))) == name for key in opened)
        found |= opened
        with pytest.raises(SealBroken):
            AesGcmSealer().open(KEY, sealed, tokens_context("other", name))
    assert found == tokens
    assert not any(b"t999" in part for part in result.parts.values())


def test_a_refreshed_token_sends_one_shard_again() -> None:
    last: dict[str, tuple[bytes, bytes]] = {}
    tokens = some(1000)
    before = shards(compiled(tokens, last))
    after = shards(compiled(tokens | {token_key("clock", "user/u7"): Token("Bearer", "fresh", 2e9)}, last))
    assert len(before) == 16
    assert sum(before[name] != after[name] for name in before) == 1


def test_a_gateway_refuses_shards_that_are_missing_or_somebody_elses() -> None:
    result = compiled(some(200), {})

    def problems(key: bytes, *without: str) -> list[Problem]:
        kept = tuple(ref for ref in result.manifest.parts if ref.name not in without or ref.kind != "tokens")
        manifest = msgspec.structs.replace(result.manifest, parts=kept)
        found = inspect(manifest, lambda digest: result.parts[digest], AesGcmSealer(), key)
        return [one for one in found if one.path.startswith("parts.tokens")]

    assert problems(KEY) == []
    assert [one.path for one in problems(KEY, "00001")] == ["parts.tokens"]
    assert len(problems(bytes(32))) == 4
