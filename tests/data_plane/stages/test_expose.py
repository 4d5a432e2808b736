"""What servers say and ask, in the endpoint's own names."""

import json

import msgspec
import pytest

from core.call import Question, Reply, Result
from core.errors import Unavailable
from core.server import HttpTransport
from core.snapshot import Backend, Catalogue, CompiledResource
from data_plane.endpoint_view import EndpointView, view
from data_plane.stages import expose
from tests.data_plane.stages.builders import inbound, permit, tool

A = "file:///a"


def endpoint(*servers: str) -> EndpointView:
    """All of whose servers list one URI."""
    entries = tuple(
        CompiledResource(name=A if at == 0 else f"{server}+{A}", server=server, upstream_name=A, definition=b"{}")
        for at, server in enumerate(servers)
    )
    backends = {server: Backend(server=server, transport=HttpTransport(url="http://x")) for server in servers}
    return view(Catalogue(endpoint="e", servers=servers, resources=entries), b"d", backends)


class Client:
    def __init__(self) -> None:
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Reply:
        self.asked.append(question)
        return Reply(result=b"{}")


def sample(uri: str) -> bytes:
    content = {"type": "resource_link", "uri": uri, "name": "a"}
    return msgspec.json.encode({"messages": [{"role": "user", "content": content}], "maxTokens": 1})


async def test_a_question_names_resources_as_the_endpoint_does() -> None:
    client, of_b = Client(), msgspec.structs.replace(permit(), tool=tool(server="b"))
    ask = expose.questions(client.ask, of_b, endpoint("a", "b"))
    assert ask is not None
    await ask(Question("sampling/createMessage", sample(A)))
    assert json.loads(client.asked[0].params) == json.loads(sample(f"b+{A}"))
    with pytest.raises(Unavailable):
        await ask(Question("sampling/createMessage", b'["uri"]'))
    assert len(client.asked) == 1


def test_what_nobody_lists_is_read_by_the_name_it_was_asked_for_by() -> None:
    asked = CompiledResource(name="b+x:new", server="b", upstream_name="x:new", definition=b"{}")
    contents = [{"uri": "x:new", "text": ""}, {"uri": "x:other", "text": ""}]
    read = Result(result=msgspec.json.encode({"contents": contents}))
    of_b = msgspec.structs.replace(permit(), tool=asked)
    shown = expose.uris(read, inbound(method="resources/read"), of_b, endpoint("a", "b"))
    assert [one["uri"] for one in json.loads(shown.result)["contents"]] == ["b+x:new", "x:other"]


async def test_where_nothing_is_renamed_nothing_is_looked_at() -> None:
    client, of_a = Client(), msgspec.structs.replace(permit(), tool=tool(server="a"))
    assert expose.questions(client.ask, of_a, endpoint("a")) == client.ask
    assert expose.questions(None, of_a, endpoint("a", "b")) is None
    assert expose.told("a", endpoint("a")) is None
