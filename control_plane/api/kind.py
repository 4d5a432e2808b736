"""The names a kind goes by: `Server`, and in paths and on the command line `servers` and `server`."""

from core.kinds import KINDS, PLURALS

_BY_NAME = {name.lower(): kind for kind in KINDS for name in (kind, PLURALS[kind])}


def kind_named(text: str) -> str | None:
    """The kind meant, in any case, singular or plural; None: there is no such kind."""
    return _BY_NAME.get(text.lower())
