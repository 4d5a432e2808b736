"""Compiles the shipped policy: `make policy`, or `python -m control_plane.policies.build`."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from control_plane.policies import DIGESTS, FOLDER, MODULE, SOURCE, actual_digests

ENTRYPOINTS = ("toolgate/authz/decision", "toolgate/authz/explain", "toolgate/authz/visible")


def compile_platform(opa: str) -> bytes:
    """The WASM. Compiled under its bare name: file names are part of the module."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(FOLDER / SOURCE, folder)
        entries = [word for entrypoint in ENTRYPOINTS for word in ("-e", entrypoint)]
        command = [opa, "build", "-t", "wasm", *entries, "-o", "bundle.tar.gz", SOURCE]
        subprocess.run(command, cwd=folder, check=True, timeout=60)
        with tarfile.open(Path(folder, "bundle.tar.gz")) as bundle:
            module = bundle.extractfile("/policy.wasm")
            if module is None:
                raise ValueError("opa made a bundle without policy.wasm")
            return module.read()


def main() -> int:
    opa = os.environ.get("TOOLGATE_OPA") or shutil.which(str(Path(".tools/opa").resolve())) or shutil.which("opa")
    if opa is None:
        print("No opa found: run tests/setup.sh opa, or set TOOLGATE_OPA.", file=sys.stderr)
        return 1
    subprocess.run([opa, "test", str(FOLDER)], check=True, timeout=60)
    (FOLDER / MODULE).write_bytes(compile_platform(opa))
    digests = actual_digests()
    (FOLDER / DIGESTS).write_text("".join(f"{digests[name]}  {name}\n" for name in digests))
    print(f"{FOLDER / MODULE}: {(FOLDER / MODULE).stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
