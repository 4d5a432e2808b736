"""`toolgate user password`, and `toolgate issuer rotate-keys`: a tenant's own authorization server."""

import argparse
import getpass
import sys

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import OK, USAGE, Failure
from cli.scope import tenant_of
from toolgate.v1 import people_pb2 as pb


def password(args: argparse.Namespace) -> int:
    """Never a flag: other users of the machine see those."""
    tenant = tenant_of(args, "User")
    with AdminApi(admin_connection(args)) as api:
        if args.clear:
            api.call(api.passwords.Clear, pb.ClearPasswordRequest(tenant=tenant, user=args.name))
            output.tell(args.output, {"tenant": tenant, "cleared": args.name}, f"User/{args.name} has no password")
            return OK
        request = pb.SetPasswordRequest(
            tenant=tenant, user=args.name, password=_asked(), email_verified=args.email_verified
        )
        api.call(api.passwords.Set, request)
    output.tell(args.output, {"tenant": tenant, "set": args.name}, f"User/{args.name} has a new password")
    return OK


def _asked() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("New password: ")
    if getpass.getpass("Once more: ") != first:
        raise Failure(USAGE, "the two are not the same")
    return first


def rotate_keys(args: argparse.Namespace) -> int:
    with AdminApi(admin_connection(args)) as api:
        done = api.call(
            api.issuer.RotateKeys, pb.RotateIssuerKeysRequest(tenant=tenant_of(args, "AuthorizationServer"))
        )
    line = f"{done.ids[0]} signs tokens in ten minutes; the key before stays until its last token has ended"
    output.tell(args.output, json_of(done), line)
    return OK
