"""Which tenant a command is about: a flag, TOOLGATE_TENANT, or the connection file's."""

import argparse

from cli.connection import default_tenant
from cli.failure import USAGE, Failure


def add_tenant_flag(parser: argparse.ArgumentParser, *, every: bool = False) -> None:
    """`every`: the command can be about all tenants too."""
    parser.add_argument("-t", "--tenant", help="the tenant [TOOLGATE_TENANT; default: the connection file's]")
    if every:
        parser.add_argument("-A", "--all-tenants", action="store_true", help="every tenant the token may see")


def tenant_of(args: argparse.Namespace, kind: str) -> str:
    """The tenant meant; empty for the platform's own kinds, with `--platform` and for all tenants. Raises Failure."""
    from core.kinds import PLATFORM_SCOPE

    if kind in PLATFORM_SCOPE or getattr(args, "platform", False):
        return ""
    tenant = wanted(args)
    if not tenant and not getattr(args, "all_tenants", False):
        also = ", or --all-tenants" if hasattr(args, "all_tenants") else ""
        raise Failure(USAGE, f"which tenant's {kind}? Give --tenant or TOOLGATE_TENANT{also}")
    return tenant


def wanted(args: argparse.Namespace) -> str:
    """The tenant meant, where all tenants are meant if none is named anywhere. Raises Failure."""
    if getattr(args, "all_tenants", False):
        if args.tenant:
            raise Failure(USAGE, f"--tenant {args.tenant} and --all-tenants: give one of them")
        return ""
    return str(args.tenant or default_tenant(args))
