"""`toolgate key create | rotate | revoke`."""

import argparse
from datetime import UTC, datetime

from cli import held, output
from cli.admin import AdminApi
from cli.connection import admin_connection
from cli.failure import OK
from cli.scope import tenant_of
from cli.when import expiry, span_s
from control_plane.api.envelope import struct_of
from core.resource import Ref
from toolgate.v1 import actions_pb2 as pb


def create(args: argparse.Namespace) -> int:
    """Prints the key: the only time anybody sees it."""
    request = pb.IssueKeyRequest(tenant=tenant_of(args, "ApiKey"), name=args.name, rotate=args.rotate)
    request.spec.CopyFrom(struct_of(_spec(args)))
    with AdminApi(admin_connection(args)) as api:
        issued = api.call(api.keys.Issue, request)
        if args.output == "table":
            print(issued.key, flush=True)
            output.progress(f"ApiKey/{issued.name} issued; the key is shown this once")
        else:
            print(output.dumped(args.output, {"key": issued.key, "name": issued.name}), end="", flush=True)
        made = [Ref("ApiKey", request.tenant, issued.name)]
        held.tell(api, made, made)
    return OK


def rotate(args: argparse.Namespace) -> int:
    """Prints the new key: the only time anybody sees it. The one before ends at once, or once the overlap is over."""
    overlap_s = span_s(args.overlap, "--overlap") if args.overlap else 0
    request = pb.IssueKeyRequest(tenant=tenant_of(args, "ApiKey"), name=args.name, rotate=True, overlap_s=overlap_s)
    with AdminApi(admin_connection(args)) as api:
        issued = api.call(api.keys.Issue, request)
    if args.output == "table":
        print(issued.key, flush=True)
        after = f"the one before is good for {args.overlap} more" if overlap_s else "the one before ends now"
        output.progress(f"ApiKey/{issued.name} rotated; {after}")
    else:
        print(output.dumped(args.output, {"key": issued.key, "name": issued.name}), end="", flush=True)
    return OK


def revoke(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        request = pb.RevokeKeyRequest(tenant=tenant_of(args, "ApiKey"), name=args.name)
        api.call(api.keys.Revoke, request)
    output.tell(args.output, {"tenant": request.tenant, "revoked": args.name}, f"ApiKey/{args.name} revoked")
    return OK


def _spec(args: argparse.Namespace) -> dict[str, object]:
    spec: dict[str, object] = {}
    for name in ("user", "agent", "admin_role"):
        if getattr(args, name):
            spec[name] = getattr(args, name)
    for flag, name in (("endpoint", "endpoints"), ("namespace_limit", "namespaces"), ("scope", "scopes")):
        if getattr(args, flag):
            spec[name] = list(getattr(args, flag))
    if args.a2a:
        spec["a2a"] = True
    if args.expires:
        spec["expires_at"] = expiry(args.expires, datetime.now(UTC))
    return spec
