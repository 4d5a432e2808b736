"""`toolgate version`."""

import argparse
from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("toolgate")
except PackageNotFoundError:  # run from a tree that is not installed
    VERSION = "0"


def show(_: argparse.Namespace) -> int:
    print(f"toolgate {VERSION}")
    return 0
