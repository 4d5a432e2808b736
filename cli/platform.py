"""`toolgate node-token create | revoke` and `toolgate secret rotate`: what owners of the platform do."""

import argparse

from cli import output
from cli.admin import AdminApi
from cli.connection import admin_connection
from cli.failure import OK
from toolgate.v1 import actions_pb2 as pb


def create_node_token(args: argparse.Namespace) -> int:
    """Prints the token: the only time anybody sees it."""
    with AdminApi(admin_connection(args)) as api:
        issued = api.call(api.nodes.Issue, pb.IssueNodeTokenRequest(name=args.name))
    print(issued.token)
    output.progress(f"the token of node {args.name}; it is shown this once")
    return OK


def revoke_node_token(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        api.call(api.nodes.Revoke, pb.RevokeNodeTokenRequest(name=args.name))
    print(f"the token of node {args.name} is revoked")
    return OK


def rotate_secrets(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        rotated = api.call(api.seals.Rotate, pb.RotateSealsRequest(), deadline_s=600)
    print(f"{rotated.resealed} values sealed under the current key")
    return OK
