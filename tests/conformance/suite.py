"""The official suite, run leg by leg: what each scenario's checks came to."""

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
NODE = HERE / "node_modules/node/bin/node"
SUITE = HERE / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
LEG_S = 900.0
_RUN = re.compile(r"(?:=== Running|Starting) scenario: (\S+)")
_FOLDER = re.compile(r"(?:server-)?(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")

ORDER = ["SUCCESS", "INFO", "SKIPPED", "WARNING", "FAILURE"]
"""From best to worst, where a check is reported more than once."""


@dataclass(frozen=True)
class Leg:
    """One command line of the suite."""

    name: str
    flags: tuple[str, ...]


LEGS = (
    Leg("req 2025-11-25", ("--requirements", "2025-11-25")),
    Leg("req 2026-07-28", ("--requirements", "2026-07-28")),
    Leg("all 2025-06-18", ("--suite", "all", "--spec-version", "2025-06-18")),
    Leg("all 2025-11-25", ("--suite", "all", "--spec-version", "2025-11-25")),
    Leg("all 2026-07-28", ("--suite", "all", "--spec-version", "2026-07-28")),
    Leg("all", ("--suite", "all")),
)
"""The last runs the extensions too."""


@dataclass(frozen=True)
class Check:
    """`status` is the suite's own word."""

    scenario: str
    id: str
    status: str
    message: str


Checks = Mapping[str, Mapping[str, Check]]
"""By scenario, then by what tells one check of it from another."""


@dataclass(frozen=True)
class Outcome:
    """What a leg came to. `exit` is the suite's own verdict."""

    leg: Leg
    exit: int
    seconds: float
    checks: Checks


class SuiteBroken(Exception):
    """The suite itself did not run."""


async def run(leg: Leg, command: list[str], folder: Path) -> Outcome:
    """Runs the suite's `command` with the leg's flags; `folder` keeps all it writes. Raises SuiteBroken."""
    folder.mkdir(parents=True)
    began = time.monotonic()
    words = [str(NODE), str(SUITE), *command, *leg.flags, "--output-dir", str(folder)]
    with (folder / "output.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=log, stderr=log, env=os.environ | {"NO_COLOR": "1"}
        )
        try:
            async with asyncio.timeout(LEG_S):
                await process.wait()
        except TimeoutError:
            raise SuiteBroken(f"{leg.name} took more than {LEG_S:g} s: see {folder}/output.log") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    said = (folder / "output.log").read_text(errors="replace")
    scenarios = _RUN.findall(said)
    if not scenarios:
        raise SuiteBroken(f"{leg.name} ran no scenario:\n{said[-2000:]}")
    return Outcome(leg, process.returncode or 0, time.monotonic() - began, collected(folder, scenarios))


def collected(folder: Path, scenarios: list[str]) -> Checks:
    """The checks of every scenario that was begun; one that left none behind failed."""
    found: dict[str, dict[str, Check]] = {}
    for results in sorted(folder.rglob("checks.json")):
        kept = str(results.parent.relative_to(folder))
        named = _FOLDER.fullmatch(kept)
        scenario = named[1] if named else kept
        found.setdefault(scenario, {}).update(worst(scenario, json.loads(results.read_text())))
    for scenario in scenarios:
        if not found.get(scenario):
            found[scenario] = {"ran": Check(scenario, "ran", "FAILURE", "left no checks behind")}
    return found


def worst(scenario: str, listed: list[dict[str, str]]) -> dict[str, Check]:
    """By id and name: some checks are one rule seen at several places."""
    checks: dict[str, Check] = {}
    for one in listed:
        check = Check(scenario, one["id"], one["status"], str(one.get("errorMessage") or one.get("description") or ""))
        key = f"{one['id']} {one['name']}"
        if key not in checks or ORDER.index(check.status) > ORDER.index(checks[key].status):
            checks[key] = check
    return checks
