"""Who runs, who waits and who is next: the order of calls under a limit of concurrency."""

from hypothesis import given
from hypothesis import strategies as st

from core.concurrency import Came, ConcurrencyLimit, Line, PriorityClass, Rules

HIGH, LOW = 0, 1


def line(calls: int = 1, queue: int = 10, at_most: tuple[int, ...] = (0, 0)) -> Line[str]:
    return Line(Rules(calls, queue, 10.0, at_most))


def drained(of: Line[str], rank: int = HIGH) -> list[str]:
    """Who runs one after the other, each as soon as the one before is over."""
    order = []
    of.leave(rank, 1.0)
    while (following := of.next()) is not None:
        order.append(following[0])
        of.leave(following[1], 1.0)
    return order


def test_the_higher_class_runs_first_and_within_one_the_longest_waiting() -> None:
    one = line()
    assert one.come("first", LOW) == Came(runs=True)
    for who, rank in (("b1", LOW), ("a1", HIGH), ("b2", LOW), ("a2", HIGH)):
        assert one.come(who, rank) == Came(runs=False, waits=True)
    assert (one.running, one.waiting) == (1, 4)
    assert drained(one, LOW) == ["a1", "a2", "b1", "b2"]
    assert (one.running, one.waiting) == (0, 0)


def test_a_full_queue_of_the_lower_class_turns_nobody_of_the_higher_away() -> None:
    one = line(queue=2)
    one.come("first", HIGH)
    one.come("b1", LOW)
    one.come("b2", LOW)
    assert one.come("b3", LOW) == Came(runs=False)
    assert one.come("a1", HIGH) == Came(runs=False, waits=True, displaced="b2")
    assert one.come("a2", HIGH) == Came(runs=False, waits=True, displaced="b1")
    assert one.come("a3", HIGH) == Came(runs=False)
    assert drained(one) == ["a1", "a2"]


def test_what_a_class_may_not_have_is_free_for_others() -> None:
    one = line(calls=3, at_most=(0, 1))
    assert [one.come(f"b{n}", LOW).runs for n in range(3)] == [True, False, False]
    assert [one.come(f"a{n}", HIGH).runs for n in range(3)] == [True, True, False]
    one.leave(LOW, 1.0)
    assert one.next() == ("a2", HIGH)
    assert one.next() is None, "all three run"
    one.leave(HIGH, 1.0)
    assert one.next() == ("b1", LOW)
    one.leave(HIGH, 1.0)
    assert one.next() is None, "one of its class runs already"


def test_without_a_queue_nobody_waits_and_who_gives_up_is_not_next() -> None:
    assert [line(queue=0).come(who, HIGH).waits for who in "ab"] == [False, False]
    one = line()
    for who in "abc":
        one.come(who, HIGH)
    one.give_up("b", HIGH)
    one.give_up("nobody", HIGH)
    assert drained(one) == ["c"]


def test_other_numbers_count_for_who_is_there_already() -> None:
    one = line()
    for who in "abc":
        one.come(who, HIGH)
    one.rules = Rules(2, 10, 10.0, ())
    assert one.next() == ("b", HIGH)
    assert one.next() is None


def test_the_wait_told_is_by_how_long_turns_last_and_how_many_are_before() -> None:
    one = line(calls=2)
    for _ in range(100):
        one.come("x", HIGH)
        one.leave(HIGH, 8.0)
    for n in range(7):
        one.come(f"a{n}", HIGH)
    assert 23 < one.retry_after_s(HIGH) <= 24
    assert line().retry_after_s(HIGH) == 1.0


@given(
    st.integers(1, 4),
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from(["come", "leave", "give up"]), st.integers(0, 2)), max_size=200),
)
def test_never_more_run_or_wait_than_may_and_nobody_waits_where_there_is_room(
    calls: int, queue: int, steps: list[tuple[str, int]]
) -> None:
    one, running, waiting = (
        Line[int](Rules(calls, queue, 1.0, (0, calls, 1))),
        list[tuple[int, int]](),
        dict[int, int](),
    )
    for number, (what, rank) in enumerate(steps):
        if what == "come":
            came = one.come(number, rank)
            if came.runs:
                running.append((number, rank))
            if came.waits:
                waiting[number] = rank
            if came.displaced is not None:
                assert waiting.pop(came.displaced) > rank
        elif what == "leave" and running:
            one.leave(running.pop(0)[1], 0.1)
        elif waiting:
            gone = next(iter(waiting))
            one.give_up(gone, waiting.pop(gone))
        while (following := one.next()) is not None:
            assert waiting.pop(following[0]) == following[1]
            running.append(following)
        assert (one.running, one.waiting) == (len(running), len(waiting))
        assert len(running) <= calls
        assert len(waiting) <= queue
        assert sum(rank == 2 for _, rank in running) <= 1
        if len(running) < calls:
            assert set(waiting.values()) <= {2}


def test_a_class_takes_what_all_it_says_is_true_of() -> None:
    batch = PriorityClass(name="batch", agents=["nightly-*"], labels={"load": "heavy"})
    assert batch.takes("ada", "nightly-1", "report", {"load": "heavy", "team": "x"})
    assert not batch.takes("ada", "nightly-1", "report", {})
    assert not batch.takes("ada", "helper", "report", {"load": "heavy"})
    assert not batch.takes_the_rest
    assert PriorityClass(name="interactive").takes_the_rest


def test_what_is_wrong_is_told_at_once() -> None:
    rest, batch = PriorityClass(name="Rest", at_most=-1), PriorityClass(name="b", users=["*"], at_most=3)
    wrong = ConcurrencyLimit(calls=0, per=[], queue=-1, wait_s=0, classes=[rest, batch, batch])
    assert {p.path for p in wrong.problems()} == {
        "spec.calls",
        "spec.per",
        "spec.queue",
        "spec.wait_s",
        "spec.classes[0].name",
        "spec.classes[0].at_most",
        "spec.classes[1].at_most",
        "spec.classes[2].name",
        "spec.classes[2].at_most",
    }
    for classes in ([batch], [PriorityClass(name="a"), PriorityClass(name="c")]):
        found = list(ConcurrencyLimit(calls=3, classes=classes).problems())
        assert [p.path for p in found] == ["spec.classes"]
    assert not list(ConcurrencyLimit(calls=3, classes=[PriorityClass(name="a"), batch]).problems())
