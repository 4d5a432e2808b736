"""When a dead server is left alone, and when it is tried again."""

from data_plane.upstreams.breaker import Breaker


def tripped() -> Breaker:
    breaker = Breaker(threshold=3, first_s=1, longest_s=4)
    for _ in range(3):
        assert breaker.wait_s(0) == 0
        breaker.failed(0)
    return breaker


def test_attempts_fail_at_once_after_failures_in_a_row() -> None:
    assert tripped().wait_s(0.25) == 0.75


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker(threshold=3)
    for _ in range(5):
        breaker.failed(0)
        breaker.failed(0)
        breaker.succeeded()
    assert breaker.wait_s(0) == 0


def test_after_the_pause_one_probe_goes_through_and_no_herd() -> None:
    breaker = tripped()
    assert breaker.wait_s(1) == 0
    assert [breaker.wait_s(1) > 0 for _ in range(10)] == [True] * 10


def test_a_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    breaker = tripped()
    now, pauses = 0.0, []
    for _ in range(4):
        now += breaker.wait_s(now)
        breaker.wait_s(now)
        breaker.failed(now)
        pauses.append(breaker.wait_s(now))
    assert pauses == [2, 4, 4, 4]


def test_attempts_that_fail_together_are_one_failure() -> None:
    breaker = tripped()
    for _ in range(200):
        breaker.failed(0.1)
    assert breaker.wait_s(0.1) == 0.9


def test_a_probe_that_never_reports_is_followed_by_another() -> None:
    breaker = tripped()
    assert breaker.wait_s(1) == 0
    assert breaker.wait_s(2) == 0


def test_a_good_probe_opens_the_way() -> None:
    breaker = tripped()
    breaker.wait_s(1)
    breaker.succeeded()
    assert breaker.wait_s(1) == 0
