"""The protobuf code in the tree is what the protos generate."""

from pathlib import Path

from tests.harness.protoc import ROOT, generate


def test_the_generated_code_in_the_tree_is_what_the_protos_generate(tmp_path: Path) -> None:
    generate(tmp_path)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*_pb2*") if p.is_file()}
    kept = {
        p.relative_to(ROOT): p.read_bytes() for p in (ROOT / "toolgate").rglob("*_pb2*") if p.suffix in (".py", ".pyi")
    }
    assert sorted(made) == sorted(kept)
    assert [str(name) for name in made if made[name] != kept[name]] == [], "run `make proto`"
