"""The tokens of a start: the first administrator's, and the one gateways come with."""

from pathlib import Path

from control_plane import keyfiles
from control_plane.services.access import ITSELF, Access
from control_plane.services.keys import Keys
from core.node_token import NodeToken

NODES = "default"
"""The name of the node token made here; others are made through the API."""


async def administrators(access: Access, keys: Keys, file: Path | None, *, reset: bool) -> str | None:
    """The first administrator's token if it was made now, written down where that is wanted."""
    token = await access.bootstrap()
    if token is None and reset:
        token = await keys.issue(ITSELF, "", "bootstrap", {"admin_role": "owner"}, rotate=True)
    if token is not None and file is not None:
        keyfiles.write(file, token + "\n")
    return token


async def nodes(access: Access, file: Path | None, *, first: bool) -> str | None:
    """With a file, the token in it counts, and is made if there is none; else one is made at the first start."""
    if file is not None and file.exists():  # noqa: ASYNC240 - once, before anything is served
        await access.keep_node_token(NodeToken(name=NODES), keyfiles.read(file).strip(), ITSELF)
        return None
    if file is None and not first:
        return None
    token = await access.create_node_token(NodeToken(name=NODES), ITSELF)
    if file is not None:
        keyfiles.write(file, token + "\n")
    return token
