"""`toolgate approvals list | approve | deny`: calls that wait for somebody."""

import argparse

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import OK
from cli.scope import tenant_of
from toolgate.v1 import policy_pb2 as pb

HEADER = ("ID", "STATE", "ASKED", "CALLER", "NAME", "ARGUMENTS", "BY", "REASON")


def list_(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        request = pb.ListApprovalsRequest(tenant=tenant_of(args, "Approval"), all=args.all)
        found = api.call(api.approvals.List, request)
    output.show(args.output, json_of(found), (_row(one) for one in found.approvals), HEADER)
    return OK


def approve(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        settled = api.call(api.approvals.Approve, _request(args))
    output.tell(args.output, json_of(settled), "approved: the caller may make this call once in the next 10 minutes")
    return OK


def deny(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        settled = api.call(api.approvals.Deny, _request(args))
    output.tell(args.output, json_of(settled), "denied: the caller is told why")
    return OK


def _request(args: argparse.Namespace) -> pb.SettleApprovalRequest:
    return pb.SettleApprovalRequest(tenant=tenant_of(args, "Approval"), id=args.id, reason=args.reason or "")


def _row(one: pb.CallApproval) -> tuple[str, ...]:
    asked = one.asked_at.ToJsonString()
    return one.id, one.state, asked, one.caller, one.name, one.arguments[:80], one.by or "-", one.reason or "-"
