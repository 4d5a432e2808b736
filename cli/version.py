"""`toolgate version`."""

import argparse
from importlib.metadata import PackageNotFoundError, version

from cli import output
from cli.failure import OK

try:
    VERSION = version("toolgate")
except PackageNotFoundError:  # run from a tree that is not installed
    VERSION = "0"


def show(args: argparse.Namespace) -> int:
    output.tell(args.output, {"version": VERSION}, f"toolgate {VERSION}")
    return OK
