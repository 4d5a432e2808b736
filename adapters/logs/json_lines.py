"""The standard library's logging as JSON, one object a line, on standard error."""

import json
import logging
import sys
import time
from collections.abc import Mapping

EXTRAS = ("incident", "rpc", "tenant", "server", "child_pid")
"""Members a log call may add; nothing else of a record's attributes is written."""


class JsonLines(logging.Formatter):
    """One line per log record; a traceback is a member, so it cannot break the line."""

    def __init__(self, members: Mapping[str, str] | None = None) -> None:
        """`members`: what every line says of the process."""
        super().__init__()
        self._members = dict(members or {})

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._members,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in EXTRAS if hasattr(record, name)},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr(level: str, **members: str) -> None:
    """Everything of ours from `level` up, of libraries from warning up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(members))
    logging.basicConfig(level=max(logging.WARNING, getattr(logging, level.upper())), handlers=[handler], force=True)
    logging.getLogger("toolgate").setLevel(level.upper())
