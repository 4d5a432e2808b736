"""Runs the suite's client half over the gateway's upstream connector, revisions side by side, and prints a table.

python -m tests.conformance.client_runner [--versions 2025-11-25,2026-07-28] [--only SUBSTRING] [--keep FOLDER]
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import yaml

from tests.conformance.client_auth import platform
from tests.conformance.suite import HERE, NODE, SUITE, Check, Leg, run
from tests.conformance.table import Verdict, complaints, rendered, verdict

EXPECTED = HERE / "client_expected.yaml"
COMMAND = f"{sys.executable} -m tests.conformance.client"
EXTENSIONS = "extensions"
"""A column for what belongs to no revision: of these the ones about signing in."""
VERSIONS = ("2025-03-26", "2025-11-25", "2026-07-28", EXTENSIONS)
SCENARIO_MS = "120000"
_LISTED = re.compile(r"^\s+- (\S+) \[", re.MULTILINE)


@dataclass
class Excuse:
    """A pattern of scenarios that may fail. `needed`: one of them did."""

    scenarios: str
    reason: str
    needed: bool = False


def scenarios(version: str) -> list[str]:
    """Those of a revision, in the suite's order. Of 2025-03-26 the suite has none but how clients signed in then."""
    words = [str(NODE), str(SUITE), "list", "--client"]
    words += [] if version == EXTENSIONS else ["--spec-version", version]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if version == EXTENSIONS:
        return re.findall(r"^\s+- (auth/\S+) \[extension\]", listed, re.MULTILINE)
    return _LISTED.findall(listed)


async def one(scenario: str, version: str, folder: Path) -> Verdict:
    """What a scenario's checks came to: a client that ends with an error failed, unless the suite expects one."""
    flags = ("--scenario", scenario, "--timeout", SCENARIO_MS)
    leg = Leg(scenario, flags if version == EXTENSIONS else (*flags, "--spec-version", version))
    outcome = await run(leg, ["client", "--command", COMMAND], folder / scenario.replace("/", "-"))
    checks = {name: check for found in outcome.checks.values() for name, check in found.items()}
    if outcome.exit and not any(check.status in ("FAILURE", "WARNING") for check in checks.values()):
        checks["client-exit"] = Check(scenario, "client-exit", "FAILURE", "the client ended with an error")
    return verdict(checks, {})


def excused(judged: Verdict, scenario: str, excuses: list[Excuse]) -> Verdict:
    for excuse in excuses if judged.wrong else []:
        if fnmatch(scenario, excuse.scenarios):
            excuse.needed = True
            return Verdict("expected")
    return judged


async def column(version: str, only: str, folder: Path, excuses: list[Excuse]) -> dict[str, Verdict]:
    judged = {}
    began = time.monotonic()
    for scenario in scenarios(version):
        if only in scenario:
            judged[scenario] = excused(await one(scenario, version, folder / version), scenario, excuses)
    print(f"client {version}: {time.monotonic() - began:.1f} s", flush=True)
    return judged


def stale(excuses: list[Excuse]) -> Iterator[str]:
    for excuse in excuses:
        if not excuse.needed:
            yield f"STALE {excuse.scenarios}: nothing fails there any more, take it out of {EXPECTED.name}"


async def main(versions: Iterable[str], only: str, folder: Path) -> int:
    """The exit code: 1 where anything went wrong that is not expected to."""
    excuses = [Excuse(**entry) for entry in yaml.safe_load(EXPECTED.read_text()) or []]
    asked = tuple(versions)
    async with AsyncExitStack() as stack:
        if not only or only.startswith("auth"):
            os.environ.update(await stack.enter_async_context(platform(folder / "platform")))
        # At once: a scenario mostly waits, for clocks and for programs that start.
        found = await asyncio.gather(*(column(version, only, folder, excuses) for version in asked))
    columns = dict(zip(asked, found, strict=True))
    print("", *rendered(columns), "", sep="\n")
    wrong = [*complaints(columns), *([] if only else stale(excuses))]
    for excuse in excuses:
        if excuse.needed:
            print(f"expected {excuse.scenarios}: {excuse.reason}")
    print(*wrong, sep="\n")
    print(f"conformance of the client half: {'failures' if wrong else 'all well'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", default=",".join(VERSIONS))
    parser.add_argument("--only", default="", help="only scenarios whose name holds this")
    parser.add_argument("--keep", type=Path, help="a folder, not there yet, for everything the run writes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="toolgate-conformance-") as made:
        sys.exit(asyncio.run(main(given.versions.split(","), given.only, given.keep or Path(made))))
