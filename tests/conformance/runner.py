"""Runs the official conformance suite against the fixture and gateways before it, and prints what passes.

    python -m tests.conformance.runner [--topology NAME,...] [--legs SUBSTRING,...] [--keep FOLDER]

`client` is the suite's other half, the gateway's way to its servers (`client_runner`). `authorization` is what it asks
of authorization servers.

Fails where anything fails, is skipped or warned of that the fixture itself passes, or is not there to be tested.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conformance import authorization, client_runner
from tests.conformance.suite import LEGS, NODE, Leg, Outcome, SuiteBroken, run
from tests.conformance.table import all_well, complaints, rendered, verdicts
from tests.conformance.topology import TOPOLOGIES

PARTS = (*TOPOLOGIES, "client", "authorization")


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
        if name == "client":
            failed += [name] * await client_runner.main(client_runner.VERSIONS, "", folder / name)
            continue
        if name == "authorization":
            failed += [name] * (not await authorization.main(folder / name))
            continue
        try:
            outcomes, well = await tried(name, legs, folder / name, direct)
        except (SuiteBroken, AssertionError) as broken:
            print(f"\n## {name}\n\nnot run: {broken}", *last_words(folder / name), sep="\n", flush=True)
            failed.append(name)
            continue
        if name == "direct":
            direct = outcomes
        if not well:
            failed.append(name)
    print(f"\nconformance: {'failures in ' + ', '.join(failed) if failed else 'all well'}")
    return 1 if failed else 0


def last_words(folder: Path) -> Iterator[str]:
    """Of every process that did not come up, for whoever has to find out why."""
    for log in sorted(folder.glob("*.log")):
        yield f"-- {log.name}"
        yield from log.read_text(errors="replace").splitlines()[-5:]


def chosen() -> tuple[list[str], list[Leg], Path | None]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--topology", default=",".join(PARTS), help=f"any of {', '.join(PARTS)}, separated by commas")
    parser.add_argument("--legs", default="", help="only legs whose name holds one of these, such as 'req,06-18'")
    parser.add_argument("--keep", type=Path, help="a folder, not there yet, for everything the run writes")
    given = parser.parse_args()
    topologies = given.topology.split(",")
    unknown = set(topologies) - set(PARTS)
    legs = [leg for leg in LEGS if any(part in leg.name for part in given.legs.split(","))]
    if unknown or not legs:
        parser.error(f"--topology is of {', '.join(PARTS)}; --legs is part of {', '.join(leg.name for leg in LEGS)}")
    return topologies, legs, given.keep


if __name__ == "__main__":
    names, wanted, keep = chosen()
    if not NODE.exists():
        sys.exit("the suite is not installed: tests/setup.sh conformance")
    if keep is not None:
        keep.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="toolgate-conformance-") as made:
        sys.exit(asyncio.run(main(names, wanted, keep or Path(made))))
