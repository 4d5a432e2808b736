"""`toolgate usage`: what is used of quotas in their present periods."""

import argparse
from datetime import UTC

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import OK
from cli.scope import tenant_of
from toolgate.v1 import usage_pb2 as pb

HEADER = ("QUOTA", "OF", "USED", "AMOUNT", "UNIT", "UNTIL")


def usage(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        found = api.call(api.usage.List, pb.ListUsageRequest(tenant=tenant_of(args, "usage")))
    output.show(args.output, json_of(found), (_row(one) for one in found.usage), HEADER)
    return OK


def _row(one: pb.QuotaUsage) -> tuple[str, ...]:
    of = ", ".join(f"{name}={value}" for name, value in sorted(one.of.items())) or "-"
    until = one.ends.ToDatetime(UTC).isoformat().replace("+00:00", "Z")
    return (one.quota, of, f"{one.used:,}", f"{one.amount:,}" if one.amount else "-", one.unit, until)
