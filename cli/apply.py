"""`toolgate apply -f` and `toolgate diff -f`."""

import argparse
from collections.abc import Sequence
from difflib import unified_diff

import grpc

from cli import documents, held, manifest, output
from cli.admin import AdminApi, Refusal, json_of
from cli.connection import admin_connection
from cli.failure import AWAY, NEGATIVE, OK, REFUSED, USAGE, Failure
from cli.manifest import Declared
from cli.scope import wanted
from control_plane.api.envelope import struct_of
from control_plane.api.jsonwire import whole_numbers
from core.resource import Ref
from toolgate.v1 import resources_pb2 as pb

HEADER = ("RESOURCE", "TENANT", "OUTCOME")
_NOT_SHOWN = "(not shown)"


def apply(args: argparse.Namespace) -> int:
    """Everything is checked before anything is sent; what the server refuses does not keep back the rest.

    1 when all was taken, but tenants stay at what was published before.
    """
    try:
        found = _declared(args)
    except manifest.Wrong as wrong:
        raise _all_wrong(args, wrong) from None
    with AdminApi(admin_connection(args)) as api:
        results = apply_all(api, found, dry_run=args.dry_run)
        if args.output == "table":
            _show(args, results, [])
        away = [] if args.dry_run else _not_in_force(api, results)
        if args.output != "table":
            _show(args, results, away)
    failed = [errors for _, _, errors in results if errors]
    if failed:
        lines = [line for errors in failed for line in errors]
        raise Failure(_worst(results), f"{len(failed)} of {len(found)} resources were refused", lines)
    if args.dry_run:
        output.progress("dry run: nothing was changed")
    return NEGATIVE if away else OK


def _all_wrong(args: argparse.Namespace, wrong: manifest.Wrong) -> manifest.Wrong:
    """With what only the server can tell, such as references to what is not there, as far as it answers."""
    batch = {one.ref for one in wrong.readable}
    problems = list(wrong.problems)
    try:
        with AdminApi(admin_connection(args)) as api:
            for one in output.counted("checked", wrong.readable):
                problems += _refused(api, one, batch)
    except Failure:  # There is no server, or it does not know us: what is wrong is wrong all the same.
        return wrong
    return manifest.Wrong(problems, wrong.readable)


def _refused(api: AdminApi, one: Declared, batch: set[Ref]) -> list[manifest.Wherein]:
    """What the server would find wrong, but for what this manifest creates. Raises Failure where it cannot be asked."""
    try:
        _apply_one(api, one, batch, dry_run=True)
    except Refusal as refusal:
        if refusal.code == AWAY or refusal.status is grpc.StatusCode.UNAUTHENTICATED:
            raise
        found = refusal.problems or [("name", refusal.text)]
        coming, source = _coming(one, batch), one.document.source
        return [(source, one.document.line(p), f"{p}: {rule}") for p, rule in found if p not in coming]
    return []


def _not_in_force(api: AdminApi, results: "Sequence[Result]") -> list[output.Json]:
    taken = [one.ref for one, _, errors in results if not errors]
    changed = [one.ref for one, result, _ in results if result in ("created", "changed")]
    return held.tell(api, taken, changed)


def _show(args: argparse.Namespace, results: "Sequence[Result]", away: list[output.Json]) -> None:
    rows = [(f"{one.draft.kind}/{one.draft.name}", one.draft.tenant or "-", result) for one, result, _ in results]
    shown = [
        {
            "kind": one.draft.kind,
            "tenant": one.draft.tenant,
            "name": one.draft.name,
            "outcome": result,
            **({"errors": errors} if errors else {}),
        }
        for one, result, errors in results
    ]
    told = {"applied": shown, "dry_run": args.dry_run, **({} if args.dry_run else {"not_in_force": away})}
    output.show(args.output, told, rows, HEADER)


Result = tuple[Declared, str, list[str]]
"""What was declared, what became of it, and what is wrong with it, each line with file and line."""


def apply_all(api: AdminApi, found: Sequence[Declared], *, dry_run: bool = False) -> list[Result]:
    """In order. Ends early only when the server cannot be reached. Raises Failure then."""
    batch = {one.ref for one in found}
    results: list[Result] = []
    failed: set[Ref] = set()
    for one in output.counted("applied", found):
        missing = sorted(one.needs() & failed)
        if missing:
            results.append((one, "skipped", [f"{one.where('name')}: {one.ref}: needs {missing[0]}, which was refused"]))
            failed.add(one.ref)
            continue
        try:
            results.append((one, _apply_one(api, one, batch, dry_run=dry_run), []))
        except Refusal as refusal:
            if refusal.code == AWAY:
                raise
            results.append((one, f"refused ({refusal.code})", _lines(one, refusal)))
            failed.add(one.ref)
    return results


def diff(args: argparse.Namespace) -> int:
    """A unified diff of what is stored against the manifest; 1 when there is any difference."""
    found = _declared(args)
    different: list[output.Json] = []
    with AdminApi(admin_connection(args)) as api:
        for one in output.counted("compared", found):
            stored = _stored(api, one.ref)
            lines = _difference(one, stored)
            if stored is not None and not lines and "value" in one.draft.spec and one.draft.kind == "Secret":
                lines = _other_value(api, one)
            if lines:
                ref = one.ref
                shown = {"kind": ref.kind, "tenant": ref.tenant, "name": ref.name, "stored": stored is not None}
                different.append({**shown, "diff": lines})
            for line in lines if args.output == "table" else ():
                print(line)
    if args.output != "table":
        print(output.dumped(args.output, {"different": different}), end="")
    return NEGATIVE if different else OK


def _declared(args: argparse.Namespace) -> list[Declared]:
    return manifest.declared(documents.read(args.file), wanted(args))


def _apply_one(api: AdminApi, one: Declared, batch: set[Ref], *, dry_run: bool) -> str:
    draft = one.draft
    request = pb.ApplyRequest(
        kind=draft.kind,
        tenant=draft.tenant,
        name=draft.name,
        namespace=draft.namespace,
        labels=draft.labels,
        generation=draft.generation,
        dry_run=dry_run,
    )
    request.spec.CopyFrom(struct_of(draft.spec))
    try:
        response = api.call(api.resources.Apply, request)
    except Refusal as refusal:
        if dry_run and _only_waits_for(refusal, one, batch):
            return "created" if _stored(api, one.ref) is None else "changed"
        raise
    return pb.Outcome.Name(response.outcome).removeprefix("OUTCOME_").lower()


def _only_waits_for(refusal: Refusal, one: Declared, batch: set[Ref]) -> bool:
    """Whether a dry run was refused only because what this manifest creates is not there yet."""
    if refusal.status is grpc.StatusCode.NOT_FOUND:
        return bool(one.needs() & batch)
    coming = _coming(one, batch)
    return bool(refusal.problems) and all(path in coming for path, _ in refusal.problems)


def _coming(one: Declared, batch: set[Ref]) -> set[str]:
    """Paths at which it names what this manifest creates."""
    tenant = one.draft.tenant
    coming = {path for path, ref in one.spec.references() if Ref(ref.kind, tenant, ref.name) in batch}
    if Ref("Tenant", "", tenant) in batch:
        coming.add("tenant")
    if Ref("Namespace", tenant, one.draft.namespace) in batch:
        coming.add("namespace")
    return coming


def _lines(one: Declared, refusal: Refusal) -> list[str]:
    if not refusal.problems:
        return [f"{one.where('name')}: {one.ref}: {refusal.text}"]
    return [f"{one.where(path)}: {one.ref}: {path}: {rule}" for path, rule in refusal.problems]


def _worst(results: Sequence[Result]) -> int:
    return USAGE if any(result == f"refused ({USAGE})" for _, result, _ in results) else REFUSED


def _stored(api: AdminApi, ref: Ref) -> output.Json | None:
    try:
        return json_of(api.call(api.resources.Get, pb.GetRequest(kind=ref.kind, tenant=ref.tenant, name=ref.name)))
    except Refusal as refusal:
        if refusal.status is grpc.StatusCode.NOT_FOUND:
            return None
        raise


def _difference(one: Declared, stored: output.Json | None) -> list[str]:
    import msgspec

    wanted: output.Json = {"labels": one.draft.labels, "namespace": one.draft.namespace}
    wanted["spec"] = whole_numbers(msgspec.to_builtins(one.spec))
    before = [] if stored is None else _text({name: stored.get(name) or wanted[name].__class__() for name in wanted})
    if one.draft.kind == "Secret":
        _hide(wanted["spec"], stored)
    after = _text(wanted)
    lines = list(unified_diff(before, after, *_titles(one), lineterm=""))
    return [line.rstrip("\n") for line in lines]


def _titles(one: Declared) -> tuple[str, str]:
    name = f"{one.draft.tenant or '-'}/{one.draft.kind}/{one.draft.name}"
    return f"stored {name}", f"manifest {name}"


def _other_value(api: AdminApi, one: Declared) -> list[str]:
    """Values are never read back, but whoever may change a secret may ask whether this one would."""
    if _apply_one(api, one, set(), dry_run=True) != "changed":
        return []
    before, after = _titles(one)
    return [f"--- {before}", f"+++ {after}", f"-  value: {_NOT_SHOWN}", f"+  value: {_NOT_SHOWN}"]


def _hide(spec: object, stored: output.Json | None) -> None:
    """A secret's value is never read back: whether it differs is asked apart."""
    assert isinstance(spec, dict)
    if spec.pop("value", None) is not None and stored is None:
        spec["value"] = _NOT_SHOWN


def _text(value: output.Json) -> list[str]:
    import yaml

    shown = yaml.safe_dump(value, sort_keys=True, allow_unicode=True, default_flow_style=False)
    return str(shown).splitlines()
