"""An audit row as the database has it."""

import msgspec

from core.admin import AuditRow

COLUMNS = "seq, id, at_unix, type, outcome, caller, tool, detail::text, hash"
"""In the order of AuditRow's fields."""


def row_of(values: tuple[object, ...]) -> AuditRow:
    """`detail` is empty where the database has none."""
    fields = dict(zip(AuditRow.__struct_fields__, values, strict=True))
    detail = fields["detail"]
    fields["detail"] = msgspec.json.decode(str(detail)) if detail is not None else {}
    return msgspec.convert(fields, AuditRow)
