"""What the suite found, as people read it: a table of scenarios, and a line for each check that went wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.conformance.suite import Check, Checks, Outcome

INAPPLICABLE = frozenset({"server-sse-content-type"})
"""With which the suite says that the rest of a scenario is about servers that answer another way: a gateway asks the
fixture in its newest revision, in which no stream is closed half way, and so passes on whole answers."""


@dataclass(frozen=True)
class Verdict:
    """Of one scenario in one leg."""

    cell: str
    wrong: tuple[Check, ...] = ()


def verdict(checks: dict[str, Check], direct: dict[str, Check] | None) -> Verdict:
    """`direct`: the same scenario asked of the fixture itself, against which nothing may be missing; None: this is."""
    failed = [check for check in checks.values() if check.status == "FAILURE"]
    lost = [check for name, check in checks.items() if _less(check, name, direct)]
    inapplicable = any(check.id in INAPPLICABLE and check.status == "INFO" for check in checks.values())
    for name, was in (direct or {}).items():
        if name not in checks and was.status == "SUCCESS" and not inapplicable:
            lost.append(Check(was.scenario, was.id, "MISSING", "checked directly, and not here"))
    if failed:
        return Verdict(f"FAIL {len(failed)}/{len(checks)}", (*failed, *lost))
    if lost:
        return Verdict(f"LESS {len(lost)}/{len(checks)}", tuple(lost))
    passed = sum(check.status == "SUCCESS" for check in checks.values())
    return Verdict(f"ok {passed}" if passed else "skip")


def _less(check: Check, name: str, direct: dict[str, Check] | None) -> bool:
    """A warning or a skip where the fixture itself succeeds."""
    if check.status not in ("SKIPPED", "WARNING"):
        return False
    was = (direct or {}).get(name)
    return check.status == "WARNING" if was is None else was.status == "SUCCESS"


def verdicts(outcome: Outcome, direct: Outcome | None) -> dict[str, Verdict]:
    """By scenario, those included that ran directly and not here."""
    known: Checks = {} if direct is None else direct.checks
    judged = {
        scenario: verdict(dict(checks), None if direct is None else dict(known.get(scenario, {})))
        for scenario, checks in outcome.checks.items()
    }
    for scenario in known:
        if scenario not in judged:
            judged[scenario] = Verdict("FAIL", (Check(scenario, "ran", "MISSING", "ran directly, and not here"),))
    return judged


def rendered(columns: dict[str, dict[str, Verdict]]) -> Iterator[str]:
    """A Markdown table: a row a scenario, a column a leg."""
    scenarios = list(dict.fromkeys(scenario for column in columns.values() for scenario in column))
    rows = [["scenario", *columns]]
    rows += [[scenario, *(cell(column, scenario) for column in columns.values())] for scenario in scenarios]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for number, row in enumerate(rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        if not number:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"


def cell(column: dict[str, Verdict], scenario: str) -> str:
    return column[scenario].cell if scenario in column else "-"


def complaints(columns: dict[str, dict[str, Verdict]]) -> Iterator[str]:
    """One line for each check, naming the legs it went wrong in."""
    said: dict[tuple[str, str, str], tuple[Check, list[str]]] = {}
    for leg, column in columns.items():
        for judged in column.values():
            for check in judged.wrong:
                said.setdefault((check.scenario, check.id, check.status), (check, []))[1].append(leg)
    for check, legs in said.values():
        message = " ".join(check.message.split())[:300]
        yield f"{check.status} {check.scenario} / {check.id} [{', '.join(legs)}]: {message}"


def all_well(columns: dict[str, dict[str, Verdict]], outcomes: Sequence[Outcome]) -> bool:
    wrong = any(judged.wrong for column in columns.values() for judged in column.values())
    return not wrong and all(outcome.exit == 0 for outcome in outcomes)
