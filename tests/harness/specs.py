"""Every field of every kind of resource, found in the specs themselves: for tests that must not forget one."""

from collections.abc import Iterator

from msgspec import inspect

from core.kinds import KINDS


def fields(kind: inspect.Type, path: str) -> Iterator[tuple[str, inspect.Type]]:
    """Every leaf of a spec: where it is and what it is."""
    match kind:
        case inspect.StructType():
            for field in kind.fields:
                yield from fields(field.type, f"{path}.{field.encode_name}")
        case inspect.UnionType():
            for one in kind.types:
                yield from fields(one, path)
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType():
            yield from fields(kind.item_type, f"{path}[]")
        case inspect.DictType():
            yield from fields(kind.value_type, f"{path}{{}}")
        case _:
            yield path, kind


LEAVES = [leaf for name, spec in KINDS.items() for leaf in fields(inspect.type_info(spec), name)]
"""(path, type): `Server.transport.url`; items of a list are `[]`, values of an object `{}`."""
