"""Generate the protobuf code: `python -m tests.harness.protoc OUT`."""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[2]


def generate(out: Path) -> None:
    """Write `toolgate/v1/*_pb2*.py` below `out`. Raises SystemExit where protoc complains."""
    protos = sorted(str(p) for p in (ROOT / "proto").rglob("*.proto"))
    google = next(iter(files("google.api")._paths)).parent.parent  # type: ignore[attr-defined]
    includes = [f"-I{ROOT / 'proto'}", f"-I{google}", f"-I{files('grpc_tools') / '_proto'}"]
    outputs = [f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(["protoc", *includes, *outputs, *protos]):
        raise SystemExit("protoc failed")


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
