"""`toolgate definitions | offerings | approve | refresh`: what servers offer, and what of it agents may see."""

import argparse
import json

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import OK, REFUSED, USAGE, Failure
from cli.scope import tenant_of
from toolgate.v1 import actions_pb2 as pb
from toolgate.v1 import resources_pb2

HEADER = ("SERVER", "TOOL", "STATE", "APPROVED", "OBSERVED")


def list_(args: argparse.Namespace) -> int:
    """On stderr, why a server's last look failed: what is listed is older, or nothing."""
    tenant = tenant_of(args, "Server")
    with AdminApi(admin_connection(args)) as api:
        request = pb.ListDefinitionsRequest(tenant=tenant, server=args.server_name)
        found = api.call(api.definitions.List, request)
        server = api.call(
            api.resources.Get, resources_pb2.GetRequest(kind="Server", tenant=tenant, name=args.server_name)
        )
    rows = (
        (d.server, d.name, d.state, d.approved_digest[:12] or "-", d.observed_digest[:12] or "-")
        for d in found.definitions
    )
    output.show(args.output, json_of(found), rows, HEADER)
    error = server.status.fields["error"].string_value
    if error:
        output.progress(f"the last look at {args.server_name} failed: {error}")
    return OK


def offerings(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        request = pb.ListOfferingsRequest(tenant=tenant_of(args, "Server"), server=args.server_name)
        found = api.call(api.definitions.ListOfferings, request)
    rows = ((one.server, one.kind, one.name) for one in found.offerings)
    output.show(args.output, json_of(found), rows, ("SERVER", "KIND", "NAME"))
    return OK


def approve(args: argparse.Namespace) -> int:
    """One tool after showing what changed, or all that wait with --all."""
    tenant = tenant_of(args, "Server")
    if bool(args.tool) == bool(args.all):
        raise Failure(USAGE, "name one tool, or give --all")
    with AdminApi(admin_connection(args)) as api:
        request = pb.ApproveDefinitionRequest(tenant=tenant, server=args.server_name, tool="*")
        if args.tool:
            waiting = _waiting(api, tenant, args.server_name, args.tool)
            _show_difference(waiting)
            request.tool = args.tool
            request.digest = args.digest or waiting.observed_digest
        answer = api.call(api.definitions.Approve, request)
    lines = [f"{args.server_name}/{name} approved" for name in answer.approved] or ["nothing waits for approval"]
    value = {"server": args.server_name, "approved": list(answer.approved)}
    output.tell(args.output, value, "\n".join(lines))
    return OK


def refresh(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        api.call(api.definitions.Refresh, pb.RefreshRequest(tenant=tenant_of(args, "Server"), server=args.server_name))
    output.tell(args.output, {"server": args.server_name}, f"a gateway will look at {args.server_name} now")
    return OK


def _waiting(api: AdminApi, tenant: str, server: str, tool: str) -> pb.ToolDefinition:
    found = api.call(api.definitions.List, pb.ListDefinitionsRequest(tenant=tenant, server=server))
    for definition in found.definitions:
        if definition.name == tool:
            return definition
    raise Failure(REFUSED, f"not found: {server} offers no tool {tool!r}")


def _show_difference(definition: pb.ToolDefinition) -> None:
    from difflib import unified_diff

    value = json_of(definition)
    before = json.dumps(value.get("approved", {}), indent=2, sort_keys=True, ensure_ascii=False).splitlines()
    after = json.dumps(value.get("observed", {}), indent=2, sort_keys=True, ensure_ascii=False).splitlines()
    if "observed" in value:
        for line in unified_diff(before, after, "approved", "observed", lineterm=""):
            output.progress(line)
