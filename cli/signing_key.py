"""`toolgate signing-key list | rotate | retire`: whose signatures on snapshots gateways believe."""

import argparse

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import OK
from toolgate.v1 import actions_pb2 as pb

HEADER = ("ID", "PUBLIC KEY", "SIGNS", "HELD HERE", "SINCE")
SIGNING_S = 600.0
"""Every snapshot is signed anew."""


def list_(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        found = api.call(api.signing.List, pb.ListSigningKeysRequest())
    rows = [
        (one.id, one.public_key.hex(), "yes" if one.signs else "no", "yes" if one.held else "no", str(one.since))
        for one in found.keys
    ]
    output.show(args.output, json_of(found), rows, HEADER)
    return OK


def rotate(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        done = api.call(api.signing.Rotate, pb.RotateSigningKeyRequest(), deadline_s=SIGNING_S)
    line = f"{done.id} signs from now on (announcement {done.number}); {done.resigned} snapshots signed anew"
    output.tell(args.output, json_of(done), line)
    output.progress("the key before is trusted until you retire it: `toolgate signing-key list`, `... retire KEY_ID`")
    return OK


def retire(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        done = api.call(api.signing.Retire, pb.RetireSigningKeyRequest(id=args.id), deadline_s=SIGNING_S)
    output.tell(args.output, json_of(done), f"{args.id} is trusted no more (announcement {done.number})")
    return OK
