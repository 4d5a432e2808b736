"""What is fuzzed: each takes any bytes and returns, or raises what is a bug. Whatever it makes of them is checked too.

Inputs are texts for the most part, so that a corpus can be read: a request is lines of headers, an empty line, a body.
"""

import json
from collections.abc import Callable
from functools import lru_cache

import msgspec

from adapters.re2.matcher import Re2Matcher
from core import json_splice, uris
from core.call import Inbound, Interest, Outgoing, Raw
from core.detect import DETECT
from core.errors import Refused, Unavailable
from core.masking import Scanner
from core.mcp import classify, errors, headers, jsonrpc, notifications, origin, rewrite, rounds, tickets, translate
from core.mcp.errors import Rejected
from core.mcp.headers import Head
from core.mcp.jsonrpc import Answer, Message
from core.mcp.revisions import MODERN, SUPPORTED
from core.sealing import SealBroken
from core.uri_template import Template
from data_plane.fronts import trails
from data_plane.fronts.address import address
from data_plane.supervisor.stdio_lines import LineReader, Overlong
from data_plane.upstreams import declared, greeting, interests
from data_plane.upstreams.jsonrpc import Message as Said
from data_plane.upstreams.jsonrpc import NotMcpError
from data_plane.upstreams.rounds import translated
from data_plane.upstreams.sse import Event, EventParser, TooLongError
from tests.fuzz import wire
from tests.fuzz.identities import identity

Target = Callable[[bytes], None]

INFO = b'{"name":"toolgate","version":"1"}'
_METHODS = (
    "tools/call", "tools/list", "prompts/get", "prompts/list", "resources/read", "resources/list",
    "resources/templates/list", "completion/complete",
)  # fmt: skip


def strict(raw: bytes) -> object:
    """As the strictest reader of JSON would: UTF-8, no NaN; numbers of any length, and unread."""
    return json.loads(raw.decode(), parse_int=len, parse_float=_fraction, parse_constant=_no_constant)


def _fraction(_: str) -> float:
    return 0.5


def _no_constant(text: str) -> object:
    raise AssertionError(f"{text} is no JSON")


# === what agents send ===


def request(data: bytes) -> None:
    """One POST: lines of headers, an empty line, the body."""
    block, _, body = data.partition(b"\n\n")
    lines = (line.partition(b":") for line in block.split(b"\n") if line)
    try:
        head = headers.read([(name.lower(), value) for name, _, value in lines])
        headers.accepts(head.values.get(b"accept", b""))
        headers.is_json(head.values.get(b"content-type", b""))
        headers.credential(head)
        origin.origin_allowed(head.text(b"origin"), head.text(b"host"), ["https://chat.example.com"])
        origin.host_allowed(head.text(b"host"), {"gw.example.com"})
        arrival = classify.arrive(_parsed(body), head)
        if arrival.era == "modern" and not arrival.message.id:
            classify.modern_notification(arrival)
            return
        _check_inbound(classify.understand(arrival, "i-1", "acme", "main"), arrival.message)
    except Rejected as rejection:
        _check_rejection(rejection)


def bare(data: bytes) -> None:
    """What comes on a connection, or to a script's address: one message, or an array of them."""
    try:
        several = jsonrpc.batch(data)
    except Rejected as rejection:
        _check_rejection(rejection)
        return
    for body in [data] if several is None else several:
        try:
            message = jsonrpc.read(body)
        except Rejected as rejection:
            _check_rejection(rejection)
            continue
        if isinstance(message, Answer):
            assert isinstance(strict(message.result or message.error), dict)
            assert bool(message.result) != bool(message.error)
            _check_id(jsonrpc.canonical_id(message.id))
            continue
        classify.cancelled_id(message.params)
        for arrive in (lambda one: classify.arrive_bare(one, b"session"), classify.arrive_bare, classify.arrive_plain):
            try:
                arrival = arrive(message)
                _check_inbound(classify.understand(arrival, "i-1", None, "main"), arrival.message)
            except Rejected as rejection:
                _check_rejection(rejection)


def _parsed(body: bytes) -> Message:
    message = jsonrpc.parse(body)
    read = strict(body)
    assert isinstance(read, dict)
    json.loads(body, parse_int=len, parse_float=_in_range)
    assert read["method"] == message.method
    assert read.get("params") in (None, strict(message.params or b"null"))
    assert not jsonrpc.too_deep(body)
    return message


def _in_range(text: str) -> float:
    value = float(text)
    assert abs(value) != float("inf"), text
    return value


def _check_inbound(inbound: Inbound, message: Message) -> None:
    """What the stages behind rely on without looking again."""
    for raw in (inbound.params, inbound.arguments, inbound.capabilities):
        assert isinstance(strict(raw), dict)
    if inbound.input_responses:
        assert isinstance(strict(inbound.input_responses), dict)
    if inbound.meta:
        strict(inbound.meta)
    if inbound.progress_token is not None:
        assert isinstance(strict(inbound.progress_token), str | int | float)
    if message.id:
        _check_id(jsonrpc.canonical_id(message.id))
    assert (inbound.era == "modern") == (inbound.revision in MODERN) or inbound.era == "legacy"
    assert inbound.method == message.method
    assert all(value.isprintable() and value.isascii() for value in (inbound.traceparent, inbound.tracestate))
    assert inbound.log_level in ("", *notifications.LEVELS)
    if inbound.input_responses:
        _refused_or(lambda: rounds.replies(inbound.input_responses))


def _refused_or(decide: Callable[[], object]) -> None:
    try:
        decide()
    except Refused as refused:
        strict(refused.data or b"{}")


def _check_rejection(rejection: Rejected) -> None:
    error = rejection.error
    assert error.status == 200 or 400 <= error.status < 500, error
    answer = strict(errors.body(rejection.id, error))
    assert isinstance(answer, dict)
    assert answer.keys() == {"jsonrpc", "id", "error"}
    assert rejection.id != b""
    if rejection.id != b"null":
        _check_id(rejection.id)


def _check_id(raw: bytes) -> None:
    assert raw == b"null" or isinstance(strict(raw), str | int), raw
    assert len(raw) <= jsonrpc.MAX_ID_BYTES


def values(data: bytes) -> None:
    """Header values and a tool's arguments: a raw value, a line with its declared path, JSON."""
    value, _, rest = data.partition(b"\n")
    path, _, arguments = rest.partition(b"\n")
    decoded = headers.decode_value(value)
    if decoded is not None:
        assert headers.decode_value(headers.encode_value(decoded).encode()) == decoded
    text = value.decode("utf-8", "replace")
    encoded = headers.encode_value(text).encode()
    assert headers.decode_value(encoded) == text
    assert encoded.isascii()
    assert b"\n" not in encoded
    assert encoded.strip() == encoded
    declared = {path.decode("utf-8", "replace"): "Token"}
    try:
        message = jsonrpc.parse(b'{"jsonrpc":"2.0","method":"m","params":' + arguments + b"}")
    except Rejected:
        return
    sent = headers.param_headers(declared, message.params or b"{}")
    received = headers.decode_params(Head({}, dict.fromkeys(["token"], sent[0][1]) if sent else None), b"1")
    wrong = headers.param_mismatch(received, declared, message.params or b"{}")
    # A value that no header can have (an array, a fraction) is refused one way or the other.
    assert not wrong or not sent or b"." in sent[0][1] or b"e-" in sent[0][1]
    headers.param_mismatch({"token": text}, declared, message.params or b"{}")


def places(data: bytes) -> None:
    """A path, a URI template and a URI, a line each."""
    path, template, uri = (*data.decode("utf-8", "replace").split("\n", 2), "", "")[:3]
    found = address(path)
    if found is not None:
        again = address(f"{found.prefix}/{found.leaf}")
        assert again == found
    for server in ("git", "1st"):
        assert not uri or uris.original(server, uris.exposed(server, uri)) == uri
        uris.original(server, uri)
    uris.plain(uri)
    try:
        known = Template(template)
    except ValueError:
        return
    if known.matches(uri):
        assert uri.startswith(known.prefix)
    assert "{" in template or known.matches(template)


class _Open:
    """A seal that anybody can make: what is in a ticket is read as if it were ours."""

    def seal(self, key: bytes, plain: bytes, context: bytes) -> bytes:
        return plain

    def open(self, key: bytes, sealed: bytes, context: bytes) -> bytes:
        return sealed


def ticket(data: bytes) -> None:
    """A ticket as text, and one that is what a seal holds; and the id of an event."""
    sealer = _Open()
    _refused_or(lambda: trails.read(data.decode("latin-1"), b"session"))
    for kind in (tickets.Round, tickets.TaskId, tickets.Cursor):
        for text in (data.decode("latin-1"), tickets.urlsafe_b64encode(data).rstrip(b"=").decode()):
            try:
                found = tickets.redeem(kind, text, sealer, b"", 1000.0)
            except SealBroken:
                continue
            assert tickets.redeem(kind, tickets.issue(found, sealer, b""), sealer, b"", 1000.0) == found


# === what servers send ===


def events(data: bytes) -> None:
    """An event stream, cut wherever the first byte says."""
    cut, stream = max(1, data[0]) if data else 1, data[1:]
    pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    for most in (64, 1 << 20):
        whole, pieced = _events([stream], most), _events(pieces, most)
        assert whole is None or pieced is None or whole == pieced
        assert most == 64 or whole is not None


def _events(pieces: list[bytes], most: int) -> tuple[list[Event], str, int | None] | None:
    parser, found = EventParser(most), []
    try:
        for piece in pieces:
            found += parser.feed(piece)
            assert parser._pending_bytes + parser._data_bytes <= most + len(piece)
    except TooLongError:
        return None
    assert all(len(event.data) <= most + 1 for event in found)
    return found, parser.last_id, parser.retry_ms


def lines(data: bytes) -> None:
    """A child's standard output, cut wherever the first byte says."""
    cut, output = max(1, data[0]) if data else 1, data[1:]
    pieces = [output[at : at + cut] for at in range(0, len(output), cut)]
    for most in (32, 1 << 20):
        whole = list(LineReader(most).feed(output))
        reader, pieced = LineReader(most), []
        for piece in pieces:
            pieced += reader.feed(piece)
            assert sum(map(len, reader._pieces)) <= most
        assert whole == pieced
        assert all(isinstance(one, Overlong) or 0 < len(one) <= most for one in whole)


def answer(data: bytes) -> None:
    """A server's answer to a POST; see `wire.Answered` for what the first bytes say."""
    raw = wire.answered(data)
    if raw is None:
        return
    assert bool(raw.result) != bool(raw.error)
    through(raw.result, raw.error)


def http(data: bytes) -> None:
    """A server's answer to a POST, HTTP and all."""
    raw = wire.http_answered(data)
    if raw is not None:
        through(raw.result, raw.error)


def result(data: bytes) -> None:
    """A result or an error object, as a server puts it in its answer, on its way to every kind of client."""
    from data_plane.upstreams import jsonrpc as upstream

    for member in (b"result", b"error"):
        try:
            raw = upstream.answer_of(upstream.decode(b'{"jsonrpc":"2.0","id":1,"%b":%b}' % (member, data)), len(data))
        except NotMcpError:
            continue
        through(raw.result, raw.error)


def through(value: bytes, error: bytes) -> None:
    """What `upstreams` let in must come out as JSON, or be refused as its server's failure."""
    for method in _METHODS:
        for revision in SUPPORTED:
            if error:
                _relayed(error, method, revision)
            else:
                _translated(value, method, revision)
    for greet in (greeting.from_discover, greeting.contradicts_itself, greeting.from_initialize):
        try:
            greet(Raw(result=value, error=error))
        except Unavailable:
            continue
    if value:
        _heard_of(value)
        _asked(value)
        rewrite.task_id(value)


def _translated(value: bytes, method: str, revision: str) -> None:
    for upstream in ("modern", "legacy"):
        try:
            shown = translate.result(value, method=method, upstream=upstream, revision=revision, server_info=INFO)
        except Unavailable:
            continue
        found = strict(shown)
        assert isinstance(found, dict)
        assert revision not in MODERN or "resultType" in found
        assert revision in MODERN or upstream == "legacy" or "resultType" not in found
    try:
        renamed = rewrite.result(value, method, lambda uri: f"git+{uri}")
    except msgspec.DecodeError:
        return
    strict(renamed)


def _relayed(error: bytes, method: str, revision: str) -> None:
    era = "modern" if revision in MODERN else "legacy"
    inbound = Inbound(
        id="i",
        tenant=None,
        endpoint="",
        transport="",
        era=era,
        revision=revision,
        method=method,
        credential=b"",
        name="n",
    )
    for upstream in ("modern", "legacy"):
        try:
            status, shown = errors.relay(error, inbound, upstream)
        except Unavailable:
            continue
        assert status in (200, 400, 404)
        assert isinstance(strict(shown), dict)
    for told in (b'{"elicitation":{"url":{}}}', b'{"sampling":{}}'):
        outgoing = Outgoing(arguments=b"{}", capabilities=told, takes_input_required=True)
        changed = translated(Raw(error=error), outgoing)
        if changed.result:
            assert rounds.read(changed.result) is not None
        else:
            assert isinstance(strict(changed.error), dict)
    rounds.in_words(error)


def _heard_of(value: bytes) -> None:
    """The same object, as what a server says it can do, as a client does, and as news of what was asked for."""
    strict(declared.carried(value, asked=True))
    interest = Interest(resources=("file:///a",), tasks=("t1",))
    for method in (*interests.LISTS, interests.UPDATED, interests.TASK, interests.ACKNOWLEDGED):
        message = Said(method=method, params=msgspec.Raw(value))
        try:
            interests.subscription(message)
            kept = interests.acknowledged(message, interest)
        except NotMcpError:
            kept = interests.Kept(frozenset(interests.LISTS), interest.resources, interest.tasks)
        try:
            news = interests.told(message, kept)
        except NotMcpError:
            continue
        if news is not None:
            strict(notifications.subscribed(news, b"1"))


def _asked(value: bytes) -> None:
    try:
        asked = rounds.read(value)
    except rounds.NotRounds:
        return
    if asked is None:
        return
    strict(rounds.without_state(value))
    strict(rounds.with_state(value, "ours"))
    assert rounds.read(rounds.render(asked)) == asked
    for question in asked.questions.values():
        strict(rounds.missing(b'{"elicitation":{},"sampling":{}}', question) or b"{}")
        for revision in SUPPORTED:
            rounds.carried(revision, question)
            strict(rounds.for_legacy(question, revision, "e1").params or b"{}")
        strict(rounds.for_modern(question).params or b"{}")
    strict(b"{%b}" % rounds.answered(asked, {}).rstrip(b","))


def channel(data: bytes) -> None:
    """Messages of a server, one to a line, on a channel with calls under way."""
    for said in wire.channelled(data):
        strict(said)


def websocket(data: bytes) -> None:
    """A WebSocket server's bytes behind a handshake that went well, or from the first byte on."""
    wire.websocketed(data)


def front(data: bytes) -> None:
    """A client's bytes, HTTP and all, to a gateway's front."""
    wire.fronted(data)


def talk(data: bytes) -> None:
    """A client's messages on a connection, one to a line; see `wire.talked` for what the first byte says."""
    for said in wire.talked(data):
        strict(said)


def splice(data: bytes) -> None:
    """A text that may be JSON, with a piece of every scalar cut out."""
    text = data.decode("utf-8", "replace")
    try:
        found = json_splice.scalars(text)
    except json_splice.TooDeep:
        return
    for scalar in found:
        json_splice.is_media(text, scalar)
    try:
        before = json.loads(text, parse_int=len)
    except (ValueError, RecursionError):
        return
    cuts = [
        json_splice.Cut(one.start + one.is_string, one.end - one.is_string, "pii")
        for one in found
        if one.end - one.start > 2 * one.is_string
    ]
    after = json.loads(json_splice.splice(text, cuts, found, {}), parse_int=len)
    assert _shape(after) == _shape(before)


@lru_cache
def _scanner() -> Scanner:
    return Scanner(dict.fromkeys(DETECT, "mask"), "out", Re2Matcher())


def masked(data: bytes) -> None:
    """A result as guards look at it, with every detector."""
    try:
        before = json.loads(data, parse_int=len)
    except (ValueError, RecursionError):
        return
    try:
        shown, found = _scanner().mask(data, is_result=True)
    except Refused as refused:
        if refused.detail == "out: failed" and refused.__cause__ is not None:
            raise refused.__cause__ from None
        return
    assert (shown is data) == (not found)
    assert _shape(json.loads(shown, parse_int=len)) == _shape(before)


def _shape(value: object) -> object:
    """What is where, whatever it says. Of a key twice, either value may be the one that is seen."""
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return "object" if isinstance(value, dict) else "scalar"


_TARGETS: tuple[Target, ...] = (
    request, bare, values, places, ticket, events, answer, http, result, channel, websocket, front, splice, talk,
    lines, masked, identity,
)  # fmt: skip


def all_targets() -> dict[str, Target]:
    """By name, which is also the name of its corpus."""
    return {target.__name__: target for target in _TARGETS}
