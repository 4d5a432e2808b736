"""`toolgate connection list | link | disconnect`: accounts at servers that Toolgate holds tokens of."""

import argparse

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import OK, USAGE, Failure
from cli.scope import tenant_of
from toolgate.v1 import connections_pb2 as pb

HEADER = ("SERVER", "WHOSE", "STATE", "SCOPES", "EXPIRES", "ERROR")


def list_(args: argparse.Namespace) -> int:
    request = pb.ListConnectionsRequest(tenant=tenant_of(args, "Server"), server=args.server_name or "")
    with AdminApi(admin_connection(args)) as api:
        found = api.call(api.connections.List, request)
    rows = (
        (
            *(one.server, one.subject or "the server's own", one.state, one.scopes or "-"),
            one.expires_at.ToJsonString() if one.HasField("expires_at") else "-",
            one.error or "-",
        )
        for one in found.connections
    )
    output.show(args.output, json_of(found), rows, HEADER)
    return OK


def link(args: argparse.Namespace) -> int:
    tenant = tenant_of(args, "Server")
    request = pb.LinkConnectionRequest(tenant=tenant, server=args.server_name, subject=_subject(args))
    with AdminApi(admin_connection(args)) as api:
        answer = api.call(api.connections.Link, request)
    output.tell(args.output, {"url": answer.url}, answer.url)
    return OK


def disconnect(args: argparse.Namespace) -> int:
    tenant, subject = tenant_of(args, "Server"), _subject(args)
    request = pb.DisconnectRequest(tenant=tenant, server=args.server_name, subject=subject)
    with AdminApi(admin_connection(args)) as api:
        answer = api.call(api.connections.Disconnect, request)
    said = "its tokens are revoked" if answer.revoked else "nobody was told to revoke its tokens"
    value = {"server": args.server_name, "subject": subject, "revoked": answer.revoked}
    output.tell(args.output, value, f"{subject} is disconnected from {args.server_name}; {said}")
    return OK


def _subject(args: argparse.Namespace) -> str:
    if bool(args.user) == bool(args.agent):
        raise Failure(USAGE, "give one of --user and --agent")
    return f"user/{args.user}" if args.user else f"agent/{args.agent}"
