"""Settings as a plane takes them: one list of options gives the flags, the variables, the checks and the table in docs.

A flag wins over its `TOOLGATE_*` variable, a variable over the default. The environment is handed in.
"""

import argparse
import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.forwarded import Proxies

KEY_BYTES = 32


class SettingsRejected(Exception):
    """Every problem found, one per line, each naming the flag or the variable."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Option:
    """One setting. `parse` raises ValueError with the rule that is broken, and does not repeat a secret."""

    name: str
    parse: Callable[[str], object]
    default: str
    meaning: str
    flag: bool = True
    """False for secrets: a flag is visible to every process of the machine."""

    @property
    def variable(self) -> str:
        return f"TOOLGATE_{self.name.upper()}"

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"


def read(
    options: Sequence[Option],
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    program: str,
    description: str,
) -> tuple[dict[str, object], list[str]]:
    """Values by name, and what is wrong with those left out. argparse itself exits with 2 for an unknown flag."""
    flags = vars(_parser(options, program, description).parse_args(arguments))
    values: dict[str, object] = {}
    problems: list[str] = []
    for option in options:
        given = flags.get(option.name)
        chosen = given if given is not None else environment.get(option.variable, option.default)
        try:
            values[option.name] = option.parse(chosen)
        except ValueError as failure:
            source = option.option if given is not None else option.variable
            problems.append(f"{source}: {failure}")
    return values, problems


def _parser(options: Sequence[Option], program: str, description: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(program, description=description, allow_abbrev=False)
    for option in options:
        if option.flag:
            shown = f"{option.meaning} [{option.variable}, default: {option.default or 'none'}]".replace("%", "%%")
            made.add_argument(option.option, dest=option.name, metavar="VALUE", help=shown)
    return made


def missing_files(values: Mapping[str, object], names: Sequence[str]) -> list[str]:
    """A problem for each of these settings that is a path where there is no file."""
    found = ((name, values.get(name)) for name in names)
    return [
        f"TOOLGATE_{name.upper()}: {path} is no file"
        for name, path in found
        if isinstance(path, Path) and not path.is_file()
    ]


def table(options: Sequence[Option]) -> str:
    """The options as the Markdown table docs/configuration.md holds."""
    rows = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for option in options:
        flag = f"`{option.option}`" if option.flag else "-"
        default = f"`{option.default}`" if option.default else "none"
        rows.append(f"| `{option.variable}` | {flag} | {default} | {option.meaning} |")
    return "\n".join(rows)


# Values. Each raises ValueError with the rule.


def text(given: str) -> str:
    return given


def flag(given: str) -> bool:
    if given.lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return given.lower() == "true"


def whole(least: int, most: int) -> Callable[[str], int]:
    def parse(given: str) -> int:
        if not given.isascii() or not given.isdigit() or not least <= int(given) <= most:
            raise ValueError(f"must be a whole number, {least}-{most}")
        return int(given)

    return parse


def number(least: float, most: float, unit: str = "") -> Callable[[str], float]:
    def parse(given: str) -> float:
        try:
            value = float(given)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise ValueError(f"must be {least:g}-{most:g}{unit}")
        return value

    return parse


def several(given: str) -> tuple[str, ...]:
    """Separated by commas."""
    return tuple(part.strip() for part in given.split(",") if part.strip())


def networks(given: str) -> tuple[str, ...]:
    wanted = several(given)
    try:
        Proxies(wanted)
    except ValueError as failure:
        raise ValueError(f"must be networks such as 10.0.0.0/8: {failure}") from failure
    return wanted


def forwarded_header(given: str) -> str:
    if given.lower() not in ("x-forwarded-for", "forwarded"):
        raise ValueError("must be x-forwarded-for or forwarded")
    return given.lower()


def path(given: str) -> Path:
    """Absolute."""
    if not given or "\0" in given:
        raise ValueError("must be a path")
    return Path(given).expanduser().absolute()


def optional_path(given: str) -> Path | None:
    return path(given) if given else None


def key(given: str) -> bytes:
    """32 bytes from base64 or hexadecimal."""
    stripped = given.strip()
    try:
        raw = bytes.fromhex(stripped) if len(stripped) == 2 * KEY_BYTES else base64.b64decode(stripped, validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("must be 32 bytes in base64 or hexadecimal")
    return raw


def optional_key(given: str) -> bytes | None:
    return key(given) if given else None


def keys(given: str) -> tuple[bytes, ...]:
    return tuple(key(part) for part in several(given))


def log_level(given: str) -> str:
    if given.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("must be debug, info, warning or error")
    return given.lower()
