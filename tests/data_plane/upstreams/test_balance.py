"""Which of several equal servers gets a request."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from data_plane.upstreams.balance import FAILURES, Balance, Replica, Rule


def balance(*weights: int, rule: Rule = "round_robin") -> Balance[int]:
    return Balance([Replica(n, f"http://{n}", weight) for n, weight in enumerate(weights)], rule)


def picks(over: Balance[int], times: int, now: float = 0.0) -> list[int]:
    return [over.pick(now).one for _ in range(times)]


def eject(over: Balance[int], number: int, now: float = 0.0) -> None:
    for _ in range(FAILURES):
        over.failed(over.replicas[number], now)


def test_round_robin_takes_turns_whatever_the_weights() -> None:
    assert picks(balance(1, 5, 1), 6) == [0, 1, 2, 0, 1, 2]


def test_weights_are_kept_and_spread_evenly() -> None:
    chosen = picks(balance(3, 1, rule="weighted"), 8)
    assert Counter(chosen) == {0: 6, 1: 2}
    assert chosen[:4] == [0, 0, 1, 0]


def test_the_least_busy_is_next_for_its_weight() -> None:
    over = balance(2, 1, rule="least_in_flight")
    over.replicas[0].in_flight = 3
    over.replicas[1].in_flight = 1
    assert picks(over, 3) == [1, 1, 1]
    over.replicas[0].in_flight = 1
    assert picks(over, 1) == [0]


def test_among_the_equally_busy_turns_are_taken() -> None:
    assert sorted(picks(balance(1, 1, 1, rule="least_in_flight"), 3)) == [0, 1, 2]


def test_a_sick_one_is_left_out_longer_each_time_and_comes_back() -> None:
    over = balance(1, 1)
    eject(over, 0)
    assert picks(over, 3, now=0.9) == [1, 1, 1]
    assert 0 in picks(over, 2, now=1.1)
    over.failed(over.replicas[0], 1.1)
    assert picks(over, 3, now=2.9) == [1, 1, 1]
    assert 0 in picks(over, 2, now=3.2)
    over.succeeded(over.replicas[0])
    over.failed(over.replicas[0], 3.2)
    assert 0 in picks(over, 2, now=3.2)


def test_a_success_in_between_starts_the_count_anew() -> None:
    over = balance(1, 1)
    for _ in range(5):
        over.failed(over.replicas[0], 0)
        over.failed(over.replicas[0], 0)
        over.succeeded(over.replicas[0])
    assert over.ejected(0) == 0


def test_what_began_somewhere_stays_there_until_that_place_is_sick() -> None:
    over = balance(1, 1, 1)
    over.settle("ada", over.replicas[2])
    assert {over.pick(0, home="ada").one for _ in range(5)} == {2}
    eject(over, 2)
    assert over.pick(0.5, home="ada").one != 2


def test_what_was_tried_in_vain_is_avoided_while_there_is_another() -> None:
    over = balance(1, 1)
    first = over.pick(0)
    assert over.pick(0, but=[first]) is not first
    assert over.pick(0, but=over.replicas) in over.replicas


def test_homes_are_capped() -> None:
    over = balance(1, 1)
    for n in range(5000):
        over.settle(n, over.replicas[n % 2])
    assert len(over._homes) == 4096


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=200))
def test_never_are_all_left_out(events: list[tuple[int, bool]]) -> None:
    over = balance(1, 2, 3, 4)
    for now, (number, fine) in enumerate(events):
        at = now / 10
        if fine:
            over.succeeded(over.replicas[number])
        else:
            over.failed(over.replicas[number], at)
        assert over.ejected(at) < 4
        assert over.pick(at).ejected_until <= at
