"""Runs the official conformance suite against the fixture, one gateway and two, and prints what passes.

    python -m tests.conformance.runner [--topology direct,one,two] [--legs SUBSTRING] [--keep FOLDER]

Fails where anything fails, is skipped or warned of that the fixture itself passes, or is not there to be tested.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.conformance.suite import LEGS, NODE, Leg, Outcome, SuiteBroken, run
from tests.conformance.table import all_well, complaints, rendered, verdicts
from tests.conformance.topology import TOPOLOGIES


async def tried(name: str, legs: list[Leg], folder: Path, direct: list[Outcome] | None) -> tuple[list[Outcome], bool]:
    """All legs against one topology, printed; whether all went well."""
    folder.mkdir()
    async with TOPOLOGIES[name](folder) as target:
        print(f"\n## {name}\n", flush=True)
        outcomes = []
        for leg in legs:
            outcome = await run(leg, ["server", "--url", target.url], folder / leg.name.replace(" ", "-"))
            print(f"{leg.name}: {outcome.seconds:.1f} s, exit {outcome.exit}", flush=True)
            outcomes.append(outcome)
    known = direct or [None] * len(outcomes)
    columns = {one.leg.name: verdicts(one, before) for one, before in zip(outcomes, known, strict=True)}
    print("", *rendered(columns), "", sep="\n")
    for line in complaints(columns):
        print(line)
    for lacking in target.missing:
        print(f"NOT THERE {lacking}")
    return outcomes, all_well(columns, outcomes) and not target.missing


async def main(topologies: list[str], legs: list[Leg], folder: Path) -> int:
    direct: list[Outcome] | None = None
    failed = []
    for name in topologies:
        outcomes, well = await tried(name, legs, folder / name, direct)
        if name == "direct":
            direct = outcomes
        if not well:
            failed.append(name)
    print(f"\nconformance: {'failures in ' + ', '.join(failed) if failed else 'all well'}")
    return 1 if failed else 0


def chosen() -> tuple[list[str], list[Leg], Path | None]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--topology", default="direct,one,two", help="of direct, one, two; separated by commas")
    parser.add_argument("--legs", default="", help="only legs whose name holds this, such as 'req 2026'")
    parser.add_argument("--keep", type=Path, help="a folder, not there yet, for everything the run writes")
    given = parser.parse_args()
    topologies = given.topology.split(",")
    unknown = set(topologies) - set(TOPOLOGIES)
    legs = [leg for leg in LEGS if given.legs in leg.name]
    if unknown or not legs:
        parser.error(
            f"--topology is of {', '.join(TOPOLOGIES)}; --legs is part of {', '.join(leg.name for leg in LEGS)}"
        )
    return topologies, legs, given.keep


if __name__ == "__main__":
    names, wanted, keep = chosen()
    if not NODE.exists():
        sys.exit("the suite is not installed: tests/setup.sh conformance")
    if keep is not None:
        keep.mkdir(parents=True)
    try:
        with tempfile.TemporaryDirectory(prefix="toolgate-conformance-") as made:
            sys.exit(asyncio.run(main(names, wanted, keep or Path(made))))
    except SuiteBroken as broken:
        sys.exit(str(broken))
