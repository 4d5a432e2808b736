"""`toolgate watch`: changes as they happen, across restarts of the control plane."""

import argparse
import time
from collections.abc import Iterator

import grpc

from cli import output, scope
from cli.admin import AdminApi, Refusal, json_of
from cli.connection import AdminConnection, admin_connection
from cli.failure import AWAY, OK, Failure
from cli.resources import kind_of
from core.kinds import PLATFORM_SCOPE
from toolgate.v1 import resources_pb2 as pb

PAUSES_S = (0.2, 5.0)
"""First and longest pause before the control plane is tried again."""


def watch(args: argparse.Namespace) -> int:
    """One line each; ends with Ctrl-C or after --count. A lost connection is taken up again where it was lost."""
    kind = kind_of(args.kind) if args.kind else ""
    tenant = "" if kind in PLATFORM_SCOPE else scope.wanted(args)
    request = pb.WatchRequest(kind=kind, tenant=tenant, since=args.since)
    for seen, event in enumerate(_events(admin_connection(args), request), 1):
        _print(args.output, event)
        if seen == args.count:
            break
    return OK


def _events(connection: AdminConnection, request: pb.WatchRequest) -> Iterator[pb.Event]:
    """For ever, each event once, from the state at first on. Raises Failure where there never was a connection."""
    synced, pause_s = False, PAUSES_S[0]
    while True:
        connected = False
        try:
            with AdminApi(connection) as api:
                for event in api.stream(api.resources.Watch, request):
                    if synced and not connected:
                        output.progress(f"watching again, since revision {request.since}")
                    connected, pause_s = True, PAUSES_S[0]
                    if event.type == pb.EVENT_TYPE_SYNCED and synced:
                        continue
                    synced = synced or event.type == pb.EVENT_TYPE_SYNCED
                    if synced:  # The state is told in no order: before all of it is there, there is no place in it.
                        request.since = max(request.since, event.revision)
                    yield event
            lost = "the control plane ended the watch"
        except Refusal as refusal:
            if synced and request.since and refusal.status is grpc.StatusCode.ABORTED:
                output.progress(f"{refusal.text}; what is there now comes first")
                synced, request.since = False, 0
                continue
            lost = _lost(refusal, begun=synced or connected)
        except Failure as failure:
            lost = _lost(failure, begun=synced or connected)
        output.progress(f"{lost}; trying again in {pause_s:g} s")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSES_S[1])


def _lost(failure: Failure, *, begun: bool) -> str:
    if failure.code != AWAY or not begun:
        raise failure
    return failure.text


def _print(fmt: str, event: pb.Event) -> None:
    if fmt == "table":
        resource = event.resource
        what = f"{resource.kind}/{resource.name}" if event.HasField("resource") else "-"
        kind = pb.EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()
        print(f"{event.revision:>8}  {kind:<8}  {resource.tenant or '-':<20}  {what}", flush=True)
    elif fmt == "json":
        import json

        print(json.dumps(json_of(event), ensure_ascii=False), flush=True)
    else:
        print("---\n" + output.dumped("yaml", json_of(event)), end="", flush=True)
