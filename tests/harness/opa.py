"""The real `opa`: where it is, and what it says of many inputs in one go."""

import json
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from adapters.opa.binary import find
from adapters.opa.compiler import OpaCompiler
from control_plane.policies import FOLDER, SOURCE, sources

ROOT = Path(__file__).parents[2]


def program() -> str:
    """The binary `tests/setup.sh opa` makes; PolicyCompilerMissing says so where there is none."""
    made = ROOT / ".tools/opa"
    return find(str(made)) if made.exists() else find(None)


def compiler(*, sidecars_ask: bool = False, **limits: float) -> OpaCompiler:
    return OpaCompiler(sources(), opa=program(), sidecars_ask=sidecars_ask, **limits)


def evaluate(rule: str, inputs: list[dict], data: bytes, folder: Path) -> list:
    """What `opa eval` makes of `rule` (such as "toolgate.authz.decision") for each input, in order."""
    (folder / "data.json").write_bytes(data)
    (folder / "input.json").write_text(json.dumps({"cases": inputs}))
    query = f"[result | some case in input.cases; result := data.{rule} with input as case]"
    command = [program(), "eval", "-f", "raw", "-d", str(FOLDER / SOURCE), "-d", "data.json", "-i", "input.json", query]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60)
    results = json.loads(done.stdout)
    assert len(results) == len(inputs)
    return results


def build(rego: str, entrypoints: Iterable[str], folder: Path) -> bytes:
    """The WASM of one module, nothing of ours around it."""
    (folder / "p.rego").write_text(rego)
    entries = [word for entrypoint in entrypoints for word in ("-e", entrypoint)]
    subprocess.run([program(), "build", "-t", "wasm", *entries, "p.rego"], cwd=folder, check=True, timeout=60)
    with tarfile.open(folder / "bundle.tar.gz") as bundle:
        return bundle.extractfile("/policy.wasm").read()


def expression(query: str, folder: Path, rego: str) -> object:
    """The value of `query` with the file `rego` of `folder` loaded."""
    command = [program(), "eval", "-f", "raw", "-d", rego, query]
    return json.loads(subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60).stdout)
