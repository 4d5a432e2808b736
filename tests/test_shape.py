"""What holds of the repository as a whole."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
REGISTRY = re.compile(r"(pypi|pythonhosted|npmjs|golang)[.](org|com)|deb[.]debian")
PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+")


def tracked() -> list[Path]:
    """The files git keeps, whoever owns the clone."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def lines(path: Path) -> list[str]:
    """The lines of a text, none of a binary."""
    content = path.read_bytes()
    return [] if b"\0" in content else content.decode().splitlines()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_source_file_is_longer_than_500_lines() -> None:
    written = [path for path in tracked() if path.suffix in {".py", ".sh", ".mjs", ".rego", ".proto", ".sql"}]
    ours = [path for path in written if not path.is_relative_to(ROOT / "toolgate")]
    assert [str(path) for path in ours if len(lines(path)) > 500] == []


def test_the_makefile_stays_a_table_of_contents() -> None:
    assert len(lines(ROOT / "Makefile")) < 120


def test_nothing_names_a_registry_or_this_machine() -> None:
    naming = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        for number, line in enumerate(lines(path), 1)
        if REGISTRY.search(line) or f"{ROOT}/" in line
    ]
    assert naming == []


def test_every_constraint_is_a_name_and_a_version_and_every_dependency_has_one() -> None:
    constraints = lines(ROOT / "constraints.txt")
    assert [line for line in constraints if not PIN.fullmatch(line)] == []
    pinned = {canonical(line.split("==")[0]) for line in constraints}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {canonical(re.split(r"[\[<>=~! ]", one)[0]) for one in wanted} - {"toolgate"}
    assert names - pinned == set()
