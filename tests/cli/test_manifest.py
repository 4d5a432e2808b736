"""Manifests: what is wrong with them and where, and the order they are applied in."""

import io
import json
import sys
from pathlib import Path

import pytest

from cli import documents, manifest
from cli.failure import USAGE, Failure
from cli.main import main


def declared(text: str, name: str = "m.yaml", tenant: str = "") -> list[manifest.Declared]:
    return manifest.declared(list(documents.parse(name, text)), tenant)


def problems(text: str, name: str = "m.yaml") -> tuple[str, ...]:
    with pytest.raises(Failure) as caught:
        declared(text, name)
    assert caught.value.code == USAGE
    return caught.value.lines


def test_an_unknown_field_is_named_with_its_line() -> None:
    text = "kind: Server\ntenant: t\nname: s\nspec:\n  transport:\n    type: stdio\n    command: [a]\n    comand: [b]\n"
    (line,) = problems(text)
    assert line.startswith("m.yaml:8: spec.transport.comand: ")
    assert "'command'" in line


def test_an_unknown_member_of_the_envelope_is_named_with_its_line() -> None:
    (line,) = problems("kind: User\ntenant: t\nnam: x\nname: u\nspec: {}\n")
    assert line.startswith("m.yaml:3: nam: ")


def test_every_problem_of_every_document_is_told_at_once() -> None:
    text = (
        "kind: Role\ntenant: t\nname: r\nspec:\n  permisions: []\n---\n"
        "kind: RateLimit\ntenant: t\nname: l\nspec:\n  calls: none\n  period: 3\n---\nkind: Gizmo\nname: g\n"
    )
    found = problems(text)
    assert [line.split(":")[1] for line in found] == ["4", "5", "11", "12", "14"]
    assert found[0] == "m.yaml:4: spec.permissions: is required"


def test_a_required_field_that_is_missing_points_at_what_it_is_missing_from() -> None:
    (line,) = problems("kind: RoleBinding\ntenant: t\nname: b\nspec:\n  subjects: []\n")
    assert line == "m.yaml:4: spec.role: is required"


def test_json_is_read_with_lines_also_where_it_is_indented_with_tabs() -> None:
    (line,) = problems('{\n\t"kind": "Tenant",\n\t"name": "t",\n\t"spec": {\n\t\t"displayname": "x"}}', "m.json")
    assert line.startswith("m.json:5: spec.displayname: ")


def test_a_field_that_is_there_twice_is_refused() -> None:
    (line,) = problems("kind: Tenant\nname: t\nspec:\n  audit: required\n  audit: best_effort\n")
    assert line == "m.yaml:5: spec.audit: is there twice"


def test_a_resource_declared_twice_is_refused_and_both_places_are_named() -> None:
    (line,) = problems("kind: Tenant\nname: t\nspec: {}\n---\nkind: tenants\nname: t\nspec: {}\n")
    assert line == "m.yaml:6: Tenant/t is declared already at m.yaml:2"


def test_what_is_not_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(Failure, match=r"m\.yaml:3: is not YAML or JSON"):
        declared("kind: Tenant\nname: [\n")


def test_a_word_yaml_reads_as_something_else_must_be_quoted() -> None:
    found = problems("kind: User\ntenant: t\nname: 7\nlabels: {on: x, size: 3}\nspec: {}\n")
    assert "m.yaml:3: name: must be text; put it in quotes" in found
    assert "m.yaml:4: labels.size: must be text; put it in quotes" in found
    assert any(line.startswith("m.yaml:4: labels: the key") for line in found)


def test_an_unquoted_time_is_taken_as_text() -> None:
    (key,) = declared("kind: ApiKey\ntenant: t\nname: k\nspec:\n  user: u\n  expires_at: 2027-01-01T00:00:00Z\n")
    assert key.draft.spec["expires_at"] == "2027-01-01T00:00:00Z"


def test_anchors_and_merges_are_followed() -> None:
    text = (
        "kind: RateLimit\ntenant: t\nname: l\nspec: &l\n  calls: 5\n---\n"
        "kind: RateLimit\ntenant: t\nname: m\nspec:\n  <<: {calls: 3, burst: 9}\n  burst: 2\n"
    )
    _, merged = declared(text)
    assert merged.draft.spec == {"calls": 3, "burst": 2}


def test_a_small_file_that_unfolds_to_a_huge_one_is_refused() -> None:
    levels = "\n".join(f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))
    with pytest.raises(Failure, match=r"^m.yaml: the document is larger than"):
        declared(f"kind: Tenant\nname: t\nspec:\n  a0: &a0 [x, x]\n{levels}\n")


@pytest.mark.parametrize("levels", [150, 5_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_what_is_nested_too_deeply_is_refused(opening: str, closing: str, levels: int) -> None:
    with pytest.raises(Failure, match=r"^m.yaml:.* nested") as caught:
        declared(f"kind: Tenant\nname: t\nspec: {opening * levels}1{closing * levels}\n")
    assert caught.value.code == USAGE


def test_resources_come_after_what_they_need_and_otherwise_as_written() -> None:
    text = """
kind: RoleBinding
tenant: t
name: b
spec: {role: r, subjects: [{kind: user, name: u}]}
---
{kind: Endpoint, tenant: t, name: e, namespace: n, spec: {members: [{server: s}]}}
---
{kind: Server, tenant: t, name: s, spec: {transport: {type: stdio, command: [x], secret_env: {TOKEN: k}}}}
---
{kind: Secret, tenant: t, name: k, spec: {value: v}}
---
{kind: User, tenant: t, name: u, spec: {}}
---
{kind: Role, tenant: t, name: r, spec: {permissions: []}}
---
{kind: Namespace, tenant: t, name: n, spec: {}}
---
{kind: Tenant, name: t, spec: {}}
"""
    order = [str(one.ref) for one in declared(text)]
    assert order[0] == "Tenant/t"
    for first, second in (
        ("Secret/k", "Server/s"),
        ("Server/s", "Endpoint/e"),
        ("Namespace/n", "Endpoint/e"),
        ("Role/r", "RoleBinding/b"),
        ("User/u", "RoleBinding/b"),
    ):
        assert order.index(first) < order.index(second)


def test_the_output_of_get_can_be_applied_again() -> None:
    shown = {
        "resources": [
            {
                "kind": "User",
                "tenant": "t",
                "namespace": "",
                "name": "u",
                "spec": {"email": "u@example.com"},
                "status": {"state": "ok"},
                "generation": 4,
                "digest": "00",
                "labels": {"a": "b"},
                "created_at": "2026-01-01T00:00:00Z",
                "updated_at": "2026-01-01T00:00:00Z",
            }
        ]
    }
    (one,) = declared(json.dumps(shown), "-")
    assert (one.draft.generation, one.draft.labels, one.draft.spec) == (4, {"a": "b"}, {"email": "u@example.com"})


def test_a_document_without_a_tenant_is_of_the_one_given_and_a_tenant_of_none() -> None:
    found = declared("{kind: Tenant, name: t, spec: {}}\n---\n{kind: User, name: u, spec: {}}\n", tenant="t")
    assert [one.draft.tenant for one in found] == ["", "t"]


def test_folders_are_read_sorted_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text("{kind: User, tenant: t, name: b, spec: {}}")
    (tmp_path / "a.json").write_text('{"kind": "User", "tenant": "t", "name": "a", "spec": {}}')
    (tmp_path / "notes.txt").write_text("not a manifest")
    found = manifest.declared(documents.read([str(tmp_path)]))
    assert [one.draft.name for one in found] == ["a", "b"]


def test_a_manifest_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be read"):
        documents.read([str(tmp_path / "none.yaml")])
    with pytest.raises(Failure, match="there are no resources"):
        declared("# nothing\n---\n")


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfkind: Tenant\r\nname: t\r\nspec: {display_name: \xf0\x9f\x98\x80}\r\n",
        b"---\n---\n# nothing\n---\nkind: Tenant\rname: t\rspec:\r  display_name: \xf0\x9f\x98\x80\r---\n",
        b'[\n\t{"kind": "Tenant", "name": "t",\t"spec": {"display_name": "\\ud83d\\ude00"}}\n]',
    ],
)
@pytest.mark.parametrize("name", ["m.yaml", "m.json", "-"])
def test_any_way_of_writing_text_is_read(
    text: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "-":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    else:
        (tmp_path / name).write_bytes(text)
    (one,) = manifest.declared(documents.read([name if name == "-" else str(tmp_path)]))
    assert str(one.ref) == "Tenant/t"
    assert one.draft.spec == {"display_name": "\N{GRINNING FACE}"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "there are no resources"),
        (b"# nothing\n---\n---\n", "there are no resources"),
        (b"kind: Tenant\nname: \xff\n", "m.yaml:2: is not UTF-8"),
        (b"kind: Tenant\nname: a\x01\n", "m.yaml:2: is not YAML or JSON: the character U.0001"),
        (b"5\n", "must be an object with kind, name and spec"),
    ],
)
def test_what_holds_no_resource_says_so_and_where(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(text)
    with pytest.raises(Failure, match=said) as caught:
        manifest.declared(documents.read([str(tmp_path / "m.yaml")]))
    assert caught.value.code == USAGE


def test_an_unknown_kind_does_not_hide_what_else_is_wrong() -> None:
    found = problems("kind: Gizmo\nname: A\nlables: {}\nlabels: {'!': x}\n")
    assert [line.split(": ")[1] for line in found] == ["kind", "name", "lables", 'labels["!"]']


@pytest.mark.parametrize("name", ["m.yaml", "m.json"])
def test_half_a_character_is_told_with_its_line_before_anything_is_sent(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    spec = '"spec": {\n"display_name": "a\\ud800b",\n"\\udc00": 1}'
    path.write_text(f'{{"kind": "Tenant", "name": "t", {spec}}}')
    given = ["apply", "-f", str(path), "-t", "t", "--server", "127.0.0.1:1", "--token", "t"]
    assert main(given) == USAGE
    said = capsys.readouterr().err
    assert f"{path}:2: spec.display_name: must not hold half a surrogate pair" in said
    assert f"{path}:3: spec: must not hold half a surrogate pair" in said


def test_a_number_that_no_message_can_hold_is_told_with_its_line() -> None:
    found = problems(f"kind: RateLimit\ntenant: t\nname: l\nspec:\n  calls: {'9' * 400}\n")
    assert "m.yaml:5: spec.calls: is too large a number" in found


def test_two_halves_in_a_key_are_one_character() -> None:
    (one,) = documents.parse("m.json", '{"a": {"\\ud83d\\ude00": 1}}')
    assert (one.value, one.problems) == ({"a": {"\N{GRINNING FACE}": 1}}, [])
