"""A worker's counters and stdio servers: both live in the supervisor, at the other end of the channel."""

from core.call import Ask, Notify, Outgoing, Raw, Route
from core.errors import Reason, Unavailable
from core.limits import Bucket, CountersAway, Grant
from data_plane.channel import Channel, ChannelLost
from data_plane.messages import Answer, Failed, GiveBack, Granted, Ran, Take, ToolCall

_PUBLIC = "The server cannot be reached now."


class RemoteCounters:
    """`core.limits.Counters` of the node: exact across its workers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def take(self, key: str, bucket: Bucket, want: int) -> Grant:
        try:
            answer = await self._channel.ask(Take(key, bucket, want))
        except ChannelLost as failure:
            raise CountersAway("the node's supervisor is gone") from failure
        if isinstance(answer, Granted):
            return Grant(answer.tokens, answer.retry_after_s)
        raise CountersAway(_why(answer))

    async def give_back(self, key: str, bucket: Bucket, tokens: int) -> None:
        try:
            await self._channel.ask(GiveBack(key, bucket, tokens))
        except ChannelLost:
            return


class RemoteBackend:
    """`core.call.ToolBackend` for servers that are children of the node's supervisor."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def call(
        self,
        route: Route,
        outgoing: Outgoing,
        notify: Notify,
        ask: Ask | None = None,  # noqa: ARG002 - not yet carried
    ) -> Raw:
        try:
            answer = await self._channel.ask(ToolCall(route, outgoing), notify)
        except ChannelLost as failure:
            raise Unavailable(Reason.UPSTREAM_UNAVAILABLE, _PUBLIC, detail="the supervisor is gone") from failure
        if isinstance(answer, Ran):
            return answer.raw
        raise _unavailable(answer)


def _unavailable(answer: Answer) -> Unavailable:
    if isinstance(answer, Failed) and answer.kind == "unavailable":
        return Unavailable(
            Reason(answer.reason), answer.public, detail=answer.detail, retry_after_s=answer.retry_after_s
        )
    if isinstance(answer, Failed) and answer.kind == "busy":
        return Unavailable(Reason.OVERLOADED, "The gateway is busy.", detail="channel full", retry_after_s=1)
    return Unavailable(Reason.UPSTREAM_UNAVAILABLE, _PUBLIC, detail=_why(answer))


def _why(answer: Answer) -> str:
    return f"{answer.kind} {answer.detail}".strip() if isinstance(answer, Failed) else type(answer).__name__
