"""The stage that waits for a turn: under which keys, in which class, and what is said where there is none."""

from collections.abc import Callable

import msgspec
import pytest

from core.call import Permit
from core.concurrency import PriorityClass, Rules, TooManyAtOnce, Wanted
from core.errors import Reason, Refused
from core.limits import Dimension
from core.snapshot import CompiledConcurrency
from data_plane.stages.concurrency import ANY_TIME_S, take
from tests.data_plane.stages.builders import caller, inbound, tool

RULES = Rules(2, 10, 5.0, (0, 1))
CLASSES = (
    PriorityClass(name="urgent", users=["ann"], tools=["pay_*"]),
    PriorityClass(name="interactive"),
    PriorityClass(name="batch", agents=["nightly-*"]),
    PriorityClass(name="heavy", labels={"load": "heavy"}),
)


def limit(
    name: str = "few", per: tuple[Dimension, ...] = ("tenant",), tools: tuple[str, ...] = ("*",)
) -> CompiledConcurrency:
    return CompiledConcurrency(
        name=name, life="abc", rules=RULES, per=per, tools=tools, endpoints=("*",), classes=CLASSES
    )


class Asked:
    """Turns for everybody, and what was asked for."""

    def __init__(self, full: TooManyAtOnce | None = None) -> None:
        self.wanted: list[Wanted] = []
        self.within_s = 0.0
        self._full = full

    async def take(self, tenant: str, wanted: tuple[Wanted, ...], within_s: float) -> Callable[[], None]:
        self.wanted += wanted
        self.within_s = within_s
        if self._full is not None:
            raise self._full
        return self.wanted.clear


def permit(user: str = "ann", agent: str = "bot", name: str = "echo", **labels: str) -> Permit:
    target = msgspec.structs.replace(tool(name), labels=labels)
    return Permit(caller=caller(user, agent), endpoint="default", tool=target, reasons=())


@pytest.mark.parametrize(
    ("who", "rank"),
    [
        (permit(), 1),
        (permit(name="pay_all"), 0),
        (permit(user="eve", name="pay_all"), 1),
        (permit(agent="nightly-7"), 2),
        (permit(load="heavy", team="x"), 3),
        (permit(agent="nightly-7", name="pay_all"), 0),
    ],
)
async def test_the_first_class_that_takes_a_call_is_its_own_and_else_the_one_that_takes_the_rest(
    who: Permit, rank: int
) -> None:
    turns = Asked()
    await take(inbound(), who, (limit(),), turns)
    assert [one.rank for one in turns.wanted] == [rank]


async def test_each_combination_has_a_line_of_its_own_under_every_limit_that_matches() -> None:
    turns = Asked()
    limits = (limit("a"), limit("b", ("server", "caller")), limit("c", tools=("other",)))
    over = await take(inbound(), permit(), limits, turns)
    assert turns.wanted == [
        Wanted("nd:acme/a@abc/4:acme", "a", RULES, 1),
        Wanted("nd:acme/b@abc/5:files/7:ann/bot", "b", RULES, 1),
    ]
    assert turns.within_s == ANY_TIME_S
    assert over is not None
    over()
    assert turns.wanted == []


@pytest.mark.parametrize("method", ["tools/list", "completion/complete", "tasks/get", "ping"])
async def test_what_no_server_runs_takes_no_turn(method: str) -> None:
    turns = Asked()
    assert await take(inbound(method=method), permit(), (limit(),), turns) is None
    assert turns.wanted == []


async def test_nobody_waits_longer_than_the_caller_does() -> None:
    turns, asked = Asked(), inbound()
    asked.deadline_s = 3.0
    await take(asked, permit(), (limit(),), turns)
    assert turns.within_s < 3.0


async def test_who_gets_no_turn_is_told_which_limit_why_and_when_to_come_back() -> None:
    with pytest.raises(Refused) as refused:
        await take(inbound(), permit(), (limit(),), Asked(TooManyAtOnce("few", "late", 7.5)))
    assert refused.value.reason is Reason.RATE_LIMITED
    assert refused.value.retry_after_s == 7.5
    assert refused.value.detail == "limit few: late"
    assert "'few', it waited too long" in refused.value.public
