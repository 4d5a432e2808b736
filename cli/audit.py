"""`toolgate audit list | verify`."""

import argparse
from datetime import UTC, datetime

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import NEGATIVE, OK, USAGE, Failure
from cli.scope import tenant_of
from cli.when import past
from toolgate.v1 import actions_pb2 as pb

HEADER = ("SEQ", "TIME", "TYPE", "OUTCOME", "CALLER", "TOOL")
PAGE = 500


def list_(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise Failure(USAGE, "--limit: must be at least 1")
    request = pb.ListAuditRequest(
        tenant=tenant_of(args, "audit"),
        caller=args.caller or "",
        tool=args.tool or "",
        outcome=args.outcome or "",
        type=args.type or "",
    )
    for name in ("since", "until"):
        if getattr(args, name):
            getattr(request, name).FromDatetime(past(getattr(args, name), datetime.now(UTC), f"--{name}"))
    with AdminApi(admin_connection(args)) as api:
        entries = _listed(api, request, args.limit)
    shown = [json_of(e) for e in entries]
    output.show(args.output, {"entries": shown}, (_row(e) for e in entries), HEADER)
    return OK


def verify(args: argparse.Namespace) -> int:
    """Exit 1 and the row's number where the chain is broken."""
    tenant = tenant_of(args, "audit")
    with AdminApi(admin_connection(args)) as api:
        answer = api.call(api.audit.Verify, pb.VerifyAuditRequest(tenant=tenant), deadline_s=600)
    if args.output != "table":
        print(output.dumped(args.output, json_of(answer)), end="")
    elif answer.intact:
        print(f"{tenant or 'platform'}: intact, {answer.rows} rows, head {answer.head}")
    else:
        print(f"{tenant or 'platform'}: TAMPERED at row {answer.first_bad_seq}: {answer.reason}")
    return OK if answer.intact else NEGATIVE


def _listed(api: AdminApi, request: pb.ListAuditRequest, limit: int) -> list[pb.AuditEntry]:
    entries: list[pb.AuditEntry] = []
    while len(entries) < limit:
        request.page_size = min(PAGE, limit - len(entries))
        page = api.call(api.audit.List, request)
        entries += page.entries
        if not page.next_cursor:
            break
        request.cursor = page.next_cursor
    return entries


def _row(entry: pb.AuditEntry) -> tuple[str, ...]:
    at = entry.at.ToDatetime(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    method = entry.detail.fields["method"].string_value if "method" in entry.detail.fields else ""
    about = entry.tool or (f"({method})" if method else "-")
    caller = entry.caller.removesuffix("/") or "-"  # of user/agent each may be missing
    return (str(entry.seq), at, entry.type, entry.outcome, caller, about)
