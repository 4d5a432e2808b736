"""Valid-by-default values for tests of single stages."""

from adapters.crypto.sealing import AesGcmSealer
from adapters.re2.matcher import Re2Matcher
from adapters.x509.certificates import X509Certificates
from core.call import Inbound, Permit
from core.identity import Caller
from core.policy import Canary, Decision
from core.snapshot import CompiledTool
from data_plane.snapshots import Assembler, TenantSnapshot
from tests.data_plane.node.snapshots import DATA_KEY, parts_of, update


def caller(user: str = "ann", agent: str = "bot", tenant: str = "acme") -> Caller:
    return Caller(
        tenant=tenant,
        user=user,
        agent=agent,
        credential="key:k",
        endpoints=frozenset(),
        expires_unix=float("inf"),
        policy_class=b"",
    )


def tool(name: str = "echo", server: str = "files") -> CompiledTool:
    return CompiledTool(name=name, server=server, upstream_name=name, definition=b"{}", digest=b"")


def permit(name: str = "echo", endpoint: str = "default") -> Permit:
    return Permit(caller=caller(), endpoint=endpoint, tool=tool(name), reasons=())


def inbound(
    name: str = "echo", arguments: bytes = b"{}", method: str = "tools/call", endpoint: str = "default"
) -> Inbound:
    return Inbound(
        id="1",
        tenant="acme",
        endpoint=endpoint,
        transport="streamable_http",
        era="modern",
        revision="2026-07-28",
        method=method,
        credential=b"",
        name=name,
        arguments=arguments,
    )


class NothingAllowed:
    """A policy engine, for stages that ask no policy."""

    remote = None

    def prepare(self, module: bytes, data: bytes, canaries: tuple[Canary, ...]) -> "NothingAllowed":
        return self

    def decide(self, input_json: bytes) -> Decision:
        return Decision(False, ())

    def visible(self, input_json: bytes) -> None:
        return None

    def close(self) -> None:
        pass


def snapshot(generation: int = 1, manifest: dict[str, object] | None = None, **parts: bytes) -> TenantSnapshot:
    """Of tenant acme, assembled from parts as in a node; `parts` by kind replace single ones."""
    made = update(generation=generation, parts=parts_of("acme", marker=str(generation), **parts), **(manifest or {}))
    assembler = Assembler(NothingAllowed(), Re2Matcher(), AesGcmSealer(), X509Certificates())
    return assembler.assemble(made.signed.manifest, made.parts.__getitem__, DATA_KEY)
