"""URIs and task ids changed where they are, and nowhere else."""

import msgspec
import pytest

from core.mcp import rewrite


def exposed(uri: str) -> str:
    return f"git+{uri}" if uri.startswith("file:") else uri


CASES = [
    (
        "tools/call",
        {"content": [{"type": "resource_link", "uri": "file:///a", "name": "file:///a"}], "isError": False},
        {"content": [{"type": "resource_link", "uri": "git+file:///a", "name": "file:///a"}], "isError": False},
    ),
    (
        "tools/call",
        {"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "file:///a"}, "x": 1}]},
        {"content": [{"type": "resource", "resource": {"uri": "git+file:///a", "text": "file:///a"}, "x": 1}]},
    ),
    (
        "tasks/get",
        {"taskId": "t", "result": {"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}]}},
        {"taskId": "t", "result": {"content": [{"type": "resource_link", "uri": "git+file:///a", "name": "a"}]}},
    ),
    (
        "tools/call",
        {
            "inputRequests": {
                "s": {
                    "method": "sampling/createMessage",
                    "params": {
                        "messages": [
                            {"role": "user", "content": {"type": "resource_link", "uri": "file:///a", "name": "a"}},
                            {
                                "role": "user",
                                "content": [
                                    {
                                        "type": "tool_result",
                                        "toolUseId": "1",
                                        "content": [{"type": "resource", "resource": {"uri": "file:///a"}}],
                                    }
                                ],
                            },
                        ]
                    },
                },
                "e": {"method": "elicitation/create", "params": {"message": '"uri"', "uri": "file:///a"}},
                "r": {"method": "roots/list"},
            }
        },
        {
            "inputRequests": {
                "s": {
                    "method": "sampling/createMessage",
                    "params": {
                        "messages": [
                            {"role": "user", "content": {"type": "resource_link", "uri": "git+file:///a", "name": "a"}},
                            {
                                "role": "user",
                                "content": [
                                    {
                                        "type": "tool_result",
                                        "toolUseId": "1",
                                        "content": [{"type": "resource", "resource": {"uri": "git+file:///a"}}],
                                    }
                                ],
                            },
                        ]
                    },
                },
                "e": {"method": "elicitation/create", "params": {"message": '"uri"', "uri": "file:///a"}},
                "r": {"method": "roots/list"},
            }
        },
    ),
    (
        "resources/read",
        {"contents": [{"uri": "file:///a", "text": "t"}, {"uri": "http://b", "blob": "AA=="}]},
        {"contents": [{"uri": "git+file:///a", "text": "t"}, {"uri": "http://b", "blob": "AA=="}]},
    ),
    (
        "prompts/get",
        {"messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": "file:///a", "text": ""}}}]},
        {
            "messages": [
                {"role": "user", "content": {"type": "resource", "resource": {"uri": "git+file:///a", "text": ""}}}
            ]
        },
    ),
]


@pytest.mark.parametrize(("method", "before", "after"), CASES)
def test_a_uri_is_renamed_where_mcp_has_one(method: str, before: object, after: object) -> None:
    assert msgspec.json.decode(rewrite.result(msgspec.json.encode(before), method, exposed)) == after


@pytest.mark.parametrize(
    "value",
    [
        b'{"content":[ {"type":"text","text":"see \\"uri\\" file:///a"} ]}',
        b'{"content":[],"structuredContent":{"uri":"file:///a"}}',
        b'{"content":[{"type":"resource_link","uri":"http://other","name":"n"}] , "odd" : 1.0}',
        b'{"content":7,"uri":"file:///a"}',
        b'{"content":[{"type":"resource","resource":"uri"},null,"uri",{"type":"resource_link","uri":7}]}',
    ],
)
def test_what_needs_no_change_keeps_every_byte(value: bytes) -> None:
    assert rewrite.result(value, "tools/call", exposed) == value


def test_an_update_and_a_task_are_renamed() -> None:
    assert rewrite.updated(b'{"uri":"file:///a","title":"t"}', exposed) == b'{"uri":"git+file:///a","title":"t"}'
    assert rewrite.task_id(b'{"resultType":"task","taskId":"t1"}') == "t1"
    assert rewrite.task_id(b'{"content":[]}') == ""
    assert rewrite.with_task_id(b'{"taskId":"t1","a":1}', "sealed") == b'{"taskId":"sealed","a":1}'
