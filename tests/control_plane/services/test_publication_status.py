"""What a publication makes statuses say."""

import pytest

from control_plane.services.publication_status import Made, patches
from core.endpoint import Endpoint, ScopeRule
from core.oauth.server import AuthorizationServer
from core.publication import Draft, Rows
from core.resource import Ref, Resource, Spec


def resource(kind: str, spec: Spec) -> Resource:
    return Resource(
        kind=kind, tenant="acme", name="default", spec=spec, generation=1, created_unix=0.0, updated_unix=0.0
    )


@pytest.mark.parametrize(
    ("endpoint", "server", "told"),
    [
        (Endpoint(members=[], scopes=["mcp"]), AuthorizationServer(), None),
        (
            Endpoint(members=[], scopes=["b"], tool_scopes=[ScopeRule(tools=["x"], scopes=["a", "mcp"])]),
            AuthorizationServer(),
            ["a", "b"],
        ),
        (Endpoint(members=[], scopes=["b"], providers=["okta"]), AuthorizationServer(), None),
        (Endpoint(members=[], scopes=["b"], disabled=True), AuthorizationServer(), None),
        (Endpoint(members=[], scopes=["b"]), None, None),
    ],
)
def test_scopes_nobody_can_be_granted_are_told_at_the_endpoint(
    endpoint: Endpoint, server: AuthorizationServer | None, told: list[str] | None
) -> None:
    declared = [resource("Endpoint", endpoint)]
    if server is not None:
        declared.append(resource("AuthorizationServer", server))
    rows = Rows(tenant="acme", revision=1, resources=tuple(declared), key_hashes={}, sealed={}, known={}, last=None)
    found = patches([Made(Draft(tenant="acme", revision=1, compiler=1, manifest=None))], {"acme": rows}, {})
    assert found.get(Ref("Endpoint", "acme", "default"), {}).get("scopes_not_offered") == told
