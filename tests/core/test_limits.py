"""The token bucket's arithmetic, and the keys of buckets."""

from hypothesis import given
from hypothesis import strategies as st

from core.lease import IDLE_S, MAX_DENIAL_S, Slice, slice_size
from core.limits import MARKS, Bucket, Grant, Level, counter_key, full_in_s, put_back, read_key, refill, take

BUCKETS = st.builds(Bucket, st.floats(0.001, 5000), st.integers(1, 5000))


@given(BUCKETS, st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=60))
def test_no_window_admits_more_than_burst_and_what_came_back_in_it(
    bucket: Bucket, calls: list[tuple[float, int]]
) -> None:
    level, now, admitted = None, 0.0, []
    for pause, want in calls:
        now += pause
        level, grant = take(level, bucket, want, now)
        admitted.append((now, grant.tokens))
    for first in range(len(admitted)):
        total = 0
        for at, tokens in admitted[first:]:
            total += tokens
            assert total <= bucket.burst + bucket.rate_per_s * (at - admitted[first][0]) + 1e-6


@given(BUCKETS, st.integers(1, 100), st.floats(0, 100))
def test_waiting_as_long_as_told_gets_a_token_and_shorter_does_not(bucket: Bucket, want: int, start: float) -> None:
    level, grant = take(None, bucket, bucket.burst + want, start)
    assert grant.tokens == bucket.burst
    assert take(level, bucket, 1, start + grant.retry_after_s * 0.99)[1].tokens == 0
    assert take(level, bucket, 1, start + grant.retry_after_s + 1e-6)[1].tokens == 1


def test_ten_tenths_of_a_token_are_a_token() -> None:
    bucket, now = Bucket(0.1, 1), 0.0
    level, _ = take(None, bucket, 1, now)
    for _ in range(10):
        now += 1.0
        level = Level(refill(level, bucket, now), now)
    assert take(level, bucket, 1, now)[1] == Grant(1)


def test_what_is_given_back_never_overflows_the_bucket() -> None:
    bucket = Bucket(1.0, 5)
    level, _ = take(None, bucket, 3, 0.0)
    assert put_back(level, bucket, 2, 0.0) == Level(4.0, 0.0)
    assert put_back(level, bucket, 200, 0.0) == Level(5.0, 0.0)


def test_a_clock_that_goes_back_adds_nothing() -> None:
    bucket = Bucket(1.0, 5)
    level, _ = take(None, bucket, 5, 100.0)
    assert take(level, bucket, 1, 50.0)[1].tokens == 0
    assert take(take(level, bucket, 1, 50.0)[0], bucket, 1, 100.5)[1].tokens == 0


def test_a_bucket_is_full_when_all_came_back() -> None:
    level, _ = take(None, Bucket(2.0, 10), 6, 0.0)
    assert full_in_s(level, Bucket(2.0, 10), 0.0) == 3.0
    assert full_in_s(level, Bucket(2.0, 10), 4.0) == 0.0


@given(st.lists(st.text(max_size=6), min_size=2, max_size=3), st.lists(st.text(max_size=6), min_size=2, max_size=3))
def test_different_values_never_share_a_key(one: list[str], other: list[str]) -> None:
    keys = {counter_key("fleet", "local", "acme", "calls", values) for values in (one, other)}
    assert len(keys) == (1 if one == other else 2)


def test_a_key_says_its_scope_and_what_happens_on_error() -> None:
    key = counter_key("node", "deny", "acme", "calls", ["a/b", "3:c"])
    assert read_key(key) == ("node", "deny", "acme/calls/3:a/b/3:3:c")
    assert read_key("anything") == ("fleet", "local", "anything")


def test_small_buckets_are_leased_token_by_token_and_fast_ones_by_the_moment() -> None:
    assert [
        slice_size(Bucket(rate, burst)) for rate, burst in ((1, 60), (0.1, 5), (10, 10), (1000, 1000), (1e6, 10**6))
    ] == [
        1,
        1,
        1,
        50,
        1000,
    ]


@given(BUCKETS)
def test_a_slice_is_never_more_than_an_eighth_of_the_bucket(bucket: Bucket) -> None:
    assert 1 <= slice_size(bucket) <= max(1, bucket.burst // 8)


def test_a_refusal_is_remembered_for_a_moment_and_tells_the_true_wait() -> None:
    piece = Slice(1)
    assert piece.spend(1, 0.0) is None
    piece.add(Grant(0, 12.0), 0.0)
    assert piece.spend(1, 0.5) == Grant(0, 11.5)
    assert piece.spend(1, MAX_DENIAL_S) is None


def test_tokens_at_hand_are_spent_before_a_refusal_is_told() -> None:
    piece = Slice(4)
    piece.add(Grant(3, 5.0), 0.0)
    assert [piece.spend(2, 0.0), piece.spend(2, 0.0), piece.spend(2, 0.0)] == [Grant(2), Grant(1), Grant(0, 5.0)]


def test_idle_tokens_go_back_and_busy_ones_stay() -> None:
    piece = Slice(4)
    piece.add(Grant(4), 0.0)
    piece.spend(1, 0.0)
    assert piece.unspent(IDLE_S / 2) == 0
    assert piece.unspent(IDLE_S) == 3
    assert piece.unspent(IDLE_S) == 0


def test_more_is_asked_for_before_a_slice_is_empty_but_never_ahead_of_single_tokens() -> None:
    fast, slow = Slice(50, tokens=12), Slice(1, tokens=0)
    assert fast.runs_low(0.0)
    assert not Slice(50, tokens=13).runs_low(0.0)
    assert not slow.runs_low(0.0)
    fast.add(Grant(0, 5.0), 0.0)
    assert not fast.runs_low(0.5)


WINDOWS = st.builds(lambda burst, w: Bucket(burst / w, burst, w), st.integers(1, 200), st.floats(0.1, 1000))


@given(WINDOWS, st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), max_size=60))
def test_no_window_sees_more_than_its_limit(bucket: Bucket, calls: list[tuple[float, int]]) -> None:
    level, now, admitted = None, 0.0, []
    for pause, want in calls:
        now += pause * bucket.window_s
        level, grant = take(level, bucket, want, now)
        admitted.append((now, grant.tokens))
        assert grant.tokens <= want
        assert len(level.marks) <= MARKS + 1
    for first in range(len(admitted)):
        inside = sum(tokens for at, tokens in admitted[first:] if at < admitted[first][0] + bucket.window_s * 0.999)
        assert inside <= bucket.burst


def test_a_window_slides() -> None:
    bucket = Bucket(1.0, 10, 10.0)
    level, grant = take(None, bucket, 4, 0.0)
    level, grant = take(level, bucket, 12, 5.0)
    assert grant == Grant(6, 5.0)
    assert take(level, bucket, 1, 9.99)[1].tokens == 0
    level, grant = take(level, bucket, 10, 10.0)
    assert grant == Grant(4, 5.0)
    assert take(level, bucket, 10, 15.0)[1].tokens == 6
    assert take(level, bucket, 10, 25.0)[1].tokens == 10


def test_calls_of_one_part_of_a_window_count_as_long_as_the_last_of_them() -> None:
    bucket = Bucket(1.0, 32, 32.0)
    level, _ = take(None, bucket, 20, 0.1)
    level, _ = take(level, bucket, 12, 0.9)
    assert take(level, bucket, 1, 32.5)[1].tokens == 0
    assert take(level, bucket, 32, 32.9)[1].tokens == 32


@given(WINDOWS, st.integers(1, 200), st.floats(0, 2), st.integers(1, 300))
def test_waiting_as_long_as_a_window_tells_gets_a_call(bucket: Bucket, first: int, pause: float, second: int) -> None:
    level, _ = take(None, bucket, first, 0.0)
    now = pause * bucket.window_s
    level, grant = take(level, bucket, second, now)
    if grant.tokens < second:
        assert grant.retry_after_s <= bucket.window_s + 1e-9
        assert take(level, bucket, 1, now + grant.retry_after_s * 1.000001 + 1e-6)[1].tokens == 1
        if grant.retry_after_s > 1e-3:
            assert take(level, bucket, 1, now + grant.retry_after_s * 0.98)[1].tokens == 0


def test_what_is_given_back_to_a_window_can_be_spent_again() -> None:
    bucket = Bucket(0.01, 3, 300.0)
    level, _ = take(None, bucket, 1, 0.0)
    level, _ = take(level, bucket, 2, 100.0)
    level = put_back(level, bucket, 2, 120.0)
    level, grant = take(level, bucket, 5, 120.0)
    assert grant == Grant(2, 280.0), "what was taken last counts on"
    assert full_in_s(level, bucket, 120.0) == 300.0
    assert put_back(level, bucket, 50, 121.0).marks == ()
