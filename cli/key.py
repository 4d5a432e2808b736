"""`toolgate key create | revoke`."""

import argparse
import re
from datetime import UTC, datetime, timedelta

from cli import held, output
from cli.admin import AdminApi
from cli.connection import admin_connection
from cli.failure import USAGE, Failure
from cli.resources import tenant_of
from control_plane.api.envelope import struct_of
from core.resource import Ref
from toolgate.v1 import actions_pb2 as pb

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


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
        held.tell(api, [Ref("ApiKey", request.tenant, issued.name)])
    return 0


def revoke(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        api.call(api.keys.Revoke, pb.RevokeKeyRequest(tenant=tenant_of(args, "ApiKey"), name=args.name))
    print(f"ApiKey/{args.name} revoked")
    return 0


def expiry(text: str, now: datetime) -> str:
    """RFC 3339 of `30d`, `12h`, `2027-01-01` or a full time. Raises Failure."""
    span = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", text)
    if span:
        return (now + timedelta(seconds=int(span[1]) * _UNITS[span[2]])).isoformat(timespec="seconds")
    try:
        when = datetime.fromisoformat(text)
    except ValueError as failure:
        raise Failure(USAGE, f"--expires {text}: must read like 30d, 12h or 2027-01-01T00:00:00Z") from failure
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    if when <= now:
        raise Failure(USAGE, f"--expires {text}: is in the past")
    return when.isoformat(timespec="seconds")


def _spec(args: argparse.Namespace) -> dict[str, object]:
    spec: dict[str, object] = {}
    for name in ("user", "agent", "admin_role"):
        if getattr(args, name):
            spec[name] = getattr(args, name)
    if args.endpoint:
        spec["endpoints"] = list(args.endpoint)
    if args.expires:
        spec["expires_at"] = expiry(args.expires, datetime.now(UTC))
    return spec
