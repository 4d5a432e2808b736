"""`make audit`: what is known to be vulnerable fails it, and a service that is away fails nobody's build."""

import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOUND = "Found 1 known vulnerability in 1 package\\nName Version ID Fix Versions\\nh11 0.1 PYSEC-1 0.2"
AWAY = "ERROR:pip_audit._cli:Could not connect to the vulnerability feed"


def audit(program: Path) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", str(ROOT / "tests/audit.sh")],
        env={"PATH": "/usr/bin:/bin", "TOOLGATE_PIP_AUDIT": str(program)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ("echo 'No known vulnerabilities found'", 0, "no vulnerability is known in"),
        (f"printf '{FOUND}\\n'; exit 1", 1, "VULNERABLE"),
        (f"echo '{AWAY}' >&2; exit 1", 0, "NOT DONE: ERROR:pip_audit._cli:Could not connect"),
        ("exit 124", 0, "NOT DONE"),
        ("echo 'unrecognized arguments' >&2; exit 2", 0, "NOT DONE: unrecognized arguments"),
    ],
)
def test_what_the_audit_says_of_each_way_it_can_end(tmp_path: Path, answer: str, code: int, told: str) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f'#!/bin/sh\n[ "$1 $2" = "--requirement constraints.txt" ] || exit 3\n{answer}\n')
    program.chmod(0o700)
    ended, said = audit(program)
    assert (ended, told in said) == (code, True), said


def test_without_the_program_it_says_that_nothing_was_asked(tmp_path: Path) -> None:
    ended, said = audit(tmp_path / "nothing")
    assert ended == 0
    assert "NOT DONE: there is no" in said


def test_all_that_is_installed_for_it_is_pinned_as_it_is() -> None:
    """What dependencies bring along too: an audit of the pins is one of what runs."""
    lines = (ROOT / "constraints.txt").read_text().split()
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement("toolgate[dev]")]
    other: dict[str, str] = {}
    while todo:
        wanted = todo.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            there = distribution(wanted.name)
        except PackageNotFoundError:
            continue  # An optional one of another platform.
        if name != "toolgate" and pins.get(name) != there.version:
            other[name] = there.version
        for text in there.requires or ():
            more = Requirement(text)
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                todo.append(more)
    assert other == {}
