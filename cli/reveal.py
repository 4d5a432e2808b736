"""`toolgate reveal`: what tokens stand for. Each use is in the tenant's audit log."""

import argparse

from cli import output
from cli.admin import AdminApi, json_of
from cli.connection import admin_connection
from cli.failure import NEGATIVE, OK
from cli.scope import tenant_of
from toolgate.v1 import guard_pb2 as pb

HEADER = ("TOKEN", "DETECTOR", "VALUE")
SHOWN_CHARS = 40


def reveal(args: argparse.Namespace) -> int:
    request = pb.RevealTokensRequest(tenant=tenant_of(args, "token"), tokens=args.tokens, reason=args.reason)
    with AdminApi(admin_connection(args)) as api:
        found = api.call(api.tokens.Reveal, request)
    output.show(args.output, json_of(found), (_row(one) for one in found.tokens), HEADER)
    return OK if all(one.detector for one in found.tokens) else NEGATIVE


def _row(one: pb.RevealedToken) -> tuple[str, ...]:
    token = one.token if len(one.token) <= SHOWN_CHARS else one.token[: SHOWN_CHARS - 4] + "...]"
    return token, one.detector or "-", one.value or "(no token of this tenant)"
