"""`toolgate node-token create | list | revoke` and `toolgate secret rotate`: what owners of the platform do."""

import argparse
from datetime import UTC, datetime

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import OK, USAGE, Failure
from cli.when import expiry
from core.resource import NAME
from toolgate.v1 import actions_pb2 as pb

TOKEN_HEADER = ("NAME", "NODES", "TENANTS", "ISSUED", "EXPIRES", "STATE")


def create_node_token(args: argparse.Namespace) -> int:
    """Prints the token: the only time anybody sees it."""
    name = args.name or (args.node[0] if len(args.node) == 1 and NAME.fullmatch(args.node[0]) else "")
    if not name:
        raise Failure(USAGE, "--name is needed where --node is not one gateway's name")
    request = pb.IssueNodeTokenRequest(name=name, nodes=args.node, tenants=args.tenants)
    if args.expires:
        request.expires_at.FromJsonString(expiry(args.expires, datetime.now(UTC)))
    with AdminApi(admin_connection(args)) as api:
        issued = api.call(api.nodes.Issue, request)
    if args.output == "table":
        print(issued.token)
        nodes, tenants = ", ".join(args.node) or "any gateway", ", ".join(args.tenants) or "all tenants"
        output.progress(f"node token {name}, for {nodes} and {tenants}; it is shown this once")
    else:
        print(output.dumped(args.output, {"name": name, "token": issued.token}), end="", flush=True)
    return OK


def list_node_tokens(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        found = api.call(api.nodes.List, pb.ListNodeTokensRequest())
    rows = [
        (
            one.name,
            ", ".join(one.nodes),
            ", ".join(one.tenants) or "all",
            output.age(one.issued_at.ToJsonString()),
            one.expires_at.ToJsonString() if one.HasField("expires_at") else "never",
            one.state,
        )
        for one in found.tokens
    ]
    output.show(args.output, json_of(found), rows, TOKEN_HEADER)
    return OK


def revoke_node_token(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        api.call(api.nodes.Revoke, pb.RevokeNodeTokenRequest(name=args.name))
    output.tell(args.output, {"revoked": args.name}, f"node token {args.name} is revoked")
    return OK


def rotate_secrets(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        rotated = api.call(api.seals.Rotate, pb.RotateSealsRequest(), deadline_s=600)
    line = f"{rotated.resealed} values sealed under the current key"
    output.tell(args.output, {"resealed": rotated.resealed}, line)
    return OK
