"""Write the tables of docs/metrics.md from the code: `python -m tests.harness.metrics`."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from control_plane.bounds import CONTROL_PLANE
from core.bound import Kept
from data_plane.telemetry.bounds import SUPERVISOR, WORKER
from tests.harness.tables import filled

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "metrics.md"
PREFIX = "toolgate_"
KINDS = {
    "Gauge": "gauge",
    "GaugeMetricFamily": "gauge",
    "Counter": "counter",
    "CounterMetricFamily": "counter",
    "_counter": "counter",
    "Histogram": "histogram",
    "_histogram": "histogram",
}
"""What makes a family, by the name it is called by."""


class Family(NamedTuple):
    name: str
    """As Prometheus shows it: a counter ends in `_total`."""
    kind: str
    labels: tuple[str, ...]
    help: str


def families(*packages: str) -> list[Family]:
    """All there are in the code, by name. Raises ValueError where one cannot be read off."""
    found: dict[str, Family] = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            for family in _in_module(path):
                before = found.setdefault(family.name, family)
                if before != family:
                    raise ValueError(f"{path}: {family.name} is made in two ways: {before} and {family}")
    return [found[name] for name in sorted(found)]


def _in_module(path: Path) -> Iterator[Family]:
    tree = ast.parse(path.read_text("utf-8"))
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS and call.args:
            name = _read(call.args[0], tree)
            if isinstance(name, str) and name.startswith(PREFIX):
                yield _family(name, call, tree)


def _family(name: str, call: ast.Call, tree: ast.Module) -> Family:
    assert isinstance(call.func, ast.Name)
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    kind = "counter" if "counter" in given else KINDS[call.func.id]
    text = _read(call.args[1], tree)
    # A row of the node's own figures carries its value before its labels.
    is_row = call.func.id == "Gauge" and len(call.args) > 2 and "registry" not in given
    at = 3 if is_row else 2
    said = call.args[at] if len(call.args) > at else given.get("labels")
    labels = _read(said, tree) if said is not None else ()
    if not (isinstance(text, str) and isinstance(labels, tuple)):
        raise ValueError(f"line {call.lineno}: {name} has no text or labels that can be read off the code")  # noqa: TRY004 - of code, not of a value
    names = tuple(label if isinstance(label, str) else label[0] for label in labels)
    return Family(name + "_total" * (kind == "counter"), kind, names, text.rstrip("."))


def _read(node: ast.expr, tree: ast.Module) -> object:
    """A literal, or what the nearest assignment above gives a name; of pairs only what is literal. None: neither."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_read(item, tree) for item in node.elts)
    if isinstance(node, ast.Name):
        above = [
            each
            for each in ast.walk(tree)
            if isinstance(each, ast.Assign) and each.lineno < node.lineno and node.id in _targets(each)
        ]
        if above:
            nearest = max(above, key=lambda each: each.lineno)
            return _read(_assigned(nearest, node.id), tree)
    return None


def _targets(assign: ast.Assign) -> list[str]:
    target = assign.targets[0]
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return [name.id for name in names if isinstance(name, ast.Name)]


def _assigned(assign: ast.Assign, name: str) -> ast.expr:
    if isinstance(assign.targets[0], ast.Tuple) and isinstance(assign.value, ast.Tuple):
        return assign.value.elts[_targets(assign).index(name)]
    return assign.value


_SAMPLE = re.compile(r"(toolgate_\w+?)(_bucket|_sum|_count|_created)?(?:{(.*)})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Of a scraped page: family, labels, value. A histogram's samples bear its family's name and no `le`."""
    for line in page.splitlines():
        sample = _SAMPLE.fullmatch(line)
        if sample is not None and sample[2] != "_created":
            labels = dict(_LABEL.findall(sample[3] or ""))
            labels.pop("le", None)
            yield sample[1], labels, float(sample[4])


def undocumented(page: str, *packages: str) -> list[str]:
    """What a page shows otherwise than docs/metrics.md says: families, or their labels."""
    known = {family.name: set(family.labels) for family in families(*packages)}
    return [f"{name}{sorted(labels)}" for name, labels, _ in samples(page) if known.get(name) != set(labels)]


def caps_told_wrong(
    page: str, process: str, kept: Iterable[Kept], *, absent: frozenset[str] = frozenset()
) -> list[str]:
    """Where a page does not show, for `process`, exactly what the tables say is held, with the caps they say it has."""
    shown = {
        family: {
            labels["what"]: value
            for name, labels, value in samples(page)
            if name == family and labels["process"] == process
        }
        for family in ("toolgate_held", "toolgate_cap", "toolgate_cap_hits_total")
    }
    expected = {one.what for one in kept} - absent
    wrong = [
        f"{family}: {sorted(expected ^ set(values))}" for family, values in shown.items() if expected != set(values)
    ]
    for one in kept:
        said = _CAP.fullmatch(one.cap)
        if said is not None and one.what in shown["toolgate_cap"]:
            number = float(said[1].replace(",", "")) * (1024 * 1024 if said[2] else 1)
            if shown["toolgate_cap"][one.what] != number:
                wrong.append(f"{one.what}: {one.cap} is said, {shown['toolgate_cap'][one.what]:g} is true")
    return wrong


_CAP = re.compile(r"([\d,]+)( MiB)?")


def _family_rows(found: Iterable[Family]) -> str:
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in found:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(lines)


def _kept_rows(kept: Iterable[Kept]) -> str:
    lines = ["| `what` | holds | cap | at the cap | until |", "|---|---|---|---|---|"]
    lines += [f"| `{one.what}` | {one.holds} | {one.cap} | {one.full} | {one.expires} |" for one in kept]
    return "\n".join(lines)


GATEWAY = families("data_plane", "adapters")
TABLES = {
    "gateway": _family_rows(GATEWAY),
    "control-plane": _family_rows(families("control_plane")),
    "held by a worker": _kept_rows(WORKER),
    "held by a supervisor": _kept_rows(SUPERVISOR),
    "held by a control plane": _kept_rows(CONTROL_PLANE),
}


def current(text: str) -> str:
    """`text` with each table as the code is now. Raises ValueError where a table's markers are missing."""
    return filled(text, TABLES)


if __name__ == "__main__":
    DOCS.write_text(current(DOCS.read_text("utf-8")), "utf-8")
