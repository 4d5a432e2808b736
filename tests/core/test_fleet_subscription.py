"""The state of one stream, fed with messages as data."""

from hypothesis import given
from hypothesis import strategies as st

from core.fleet import WINDOW, Forget, Published, Push, Subscription
from core.snapshot import Holding, SignedManifest


def published(tenant: str, generation: int, *parts: bytes) -> Published:
    return Published(
        tenant=tenant,
        generation=generation,
        signed=SignedManifest(manifest=b"m", key_id="k", signature=b"s"),
        manifest_digest=f"{tenant}{generation}".encode(),
        parts=parts,
    )


def withdrawn(tenant: str, generation: int) -> Published:
    return Published(tenant=tenant, generation=generation, signed=None)


def held(one: Published) -> Holding:
    return Holding(one.tenant, one.generation, one.manifest_digest)


def fresh(*tenants: str) -> Subscription:
    return Subscription(tenants, [], [])


A1, A2, A3 = (published("a", n, b"wasm", b"cat%d" % n) for n in (1, 2, 3))
B1 = published("b", 1, b"wasm", b"bcat")


def test_a_new_node_is_sent_everything() -> None:
    node = fresh()
    node.begin([A1])
    assert node.next() == Push(A1, (b"wasm", b"cat1"))
    assert node.next() is None


def test_a_part_two_tenants_share_is_sent_once() -> None:
    node = fresh()
    node.begin([A1, B1])
    assert node.next() == Push(A1, (b"wasm", b"cat1"))
    assert node.next() == Push(B1, (b"bcat",))


def test_a_change_sends_only_the_parts_that_changed() -> None:
    node = fresh()
    node.begin([A1])
    node.next()
    assert node.ack(held(A1)) is A1
    node.want(A2)
    assert node.next() == Push(A2, (b"cat2",))


def test_what_waits_is_only_ever_the_newest() -> None:
    node = fresh()
    node.begin([A1])
    node.next()
    node.want(A2)
    node.want(A3)
    assert node.next() is None
    node.ack(held(A1))
    assert node.next() == Push(A3, (b"cat3",))
    assert node.next() is None


def test_a_node_that_comes_back_with_what_is_in_force_is_sent_nothing() -> None:
    node = Subscription([], [held(A1)], A1.parts)
    node.begin([A1])
    assert node.next() is None


def test_a_node_that_comes_back_behind_is_sent_what_it_lacks() -> None:
    node = Subscription([], [held(A1)], A1.parts)
    node.begin([A2])
    assert node.next() == Push(A2, (b"cat2",))


def test_a_tenant_that_is_no_more_is_forgotten() -> None:
    node = Subscription([], [held(A1), held(B1)], [*A1.parts, *B1.parts])
    node.begin([withdrawn("a", 2), B1])
    assert node.next() == Forget("a")
    assert node.next() is None
    assert set(node.applied) == {"b"}


def test_a_tenant_nobody_knows_is_forgotten() -> None:
    node = Subscription([], [held(A1)], A1.parts)
    node.begin([])
    assert node.next() == Forget("a")


def test_a_tenant_the_node_never_had_is_not_withdrawn_from_it() -> None:
    node = fresh()
    node.begin([withdrawn("a", 4)])
    assert node.next() is None


def test_a_tenant_withdrawn_while_its_push_is_unanswered_is_forgotten_after_the_answer() -> None:
    node = fresh()
    node.begin([A1])
    node.next()
    node.want(withdrawn("a", 2))
    assert node.next() is None
    node.ack(held(A1))
    assert node.next() == Forget("a")


def test_a_node_serves_only_the_tenants_it_asked_for() -> None:
    node = fresh("b")
    node.begin([A1, B1])
    assert node.next() == Push(B1, B1.parts)
    node.want(A2)
    assert node.next() is None


def test_a_node_whose_share_no_longer_holds_a_tenant_forgets_it() -> None:
    node = Subscription(["b"], [held(A1)], A1.parts)
    node.begin([A1])
    assert node.next() == Forget("a")


def test_a_stale_answer_changes_nothing() -> None:
    node = fresh()
    node.begin([A2])
    node.next()
    assert node.ack(held(A1)) is None
    assert node.nack(held(A1)) is None
    assert node.unanswered == 1
    assert node.ack(held(A2)) is A2
    assert node.ack(held(A2)) is None


def test_a_refusal_of_everything_is_final_until_something_newer() -> None:
    node = fresh()
    node.begin([A1])
    node.next()
    assert node.nack(held(A1)) is A1
    assert node.next() is None
    assert node.applied == {}
    node.want(A2)
    assert node.next() == Push(A2, A2.parts)


def test_a_refusal_of_less_than_everything_is_answered_with_everything_once() -> None:
    node = Subscription([], [held(A1)], A1.parts)
    node.begin([A2])
    assert node.next() == Push(A2, (b"cat2",))
    node.nack(held(A2))
    assert node.next() == Push(A2, A2.parts)
    node.nack(held(A2))
    assert node.next() is None
    assert node.applied["a"] == held(A1)


def test_a_push_that_could_not_be_sent_waits_again_or_gives_way_to_a_newer_one() -> None:
    node = fresh()
    node.begin([A1])
    first = node.next()
    assert isinstance(first, Push)
    node.put_back(first)
    assert node.unanswered == 0
    again = node.next()
    assert again == Push(A1, A1.parts)
    assert isinstance(again, Push)
    node.want(A2)
    node.put_back(again)
    assert node.next() == Push(A2, A2.parts)
    assert node.next() is None


def test_a_newer_snapshot_goes_out_instead_of_the_refused_one() -> None:
    node = Subscription([], [held(A1)], A1.parts)
    node.begin([A2])
    node.next()
    node.want(A3)
    node.nack(held(A2))
    assert node.next() == Push(A3, A3.parts)
    assert node.next() is None


def test_parts_of_a_refused_push_are_not_taken_for_held() -> None:
    node = fresh()
    node.begin([A1, B1])
    node.next()
    node.nack(held(A1))
    assert node.next() == Push(B1, B1.parts)


def test_parts_of_what_was_in_force_before_may_be_gone() -> None:
    back = published("a", 3, *A1.parts)
    node = fresh()
    node.begin([A1])
    node.next()
    node.ack(held(A1))
    node.want(A2)
    node.next()
    node.ack(held(A2))
    node.want(back)
    assert node.next() == Push(back, (b"cat1",))


def test_pushes_stop_at_the_window_and_go_on_with_the_answers() -> None:
    many = [published(f"t{i}", 1, b"p%d" % i) for i in range(WINDOW + 5)]
    node = fresh()
    node.begin(many)
    sent = [node.next() for _ in range(WINDOW)]
    assert all(isinstance(step, Push) for step in sent)
    assert node.next() is None
    node.ack(held(many[0]))
    assert node.next() == Push(many[WINDOW], many[WINDOW].parts)


steps = st.lists(st.tuples(st.sampled_from(["want", "next", "ack", "nack", "stale"]), st.integers(0, 2)), max_size=60)


@given(steps)
def test_whatever_happens_a_node_that_answers_ends_up_with_the_newest(moves: list[tuple[str, int]]) -> None:
    """A node as careless as it may be: it keeps the parts of what is in force and nothing else."""
    node = fresh()
    newest: dict[str, Published] = {}
    flying: dict[str, Push] = {}
    in_force: dict[str, Published] = {}
    generation = 0

    def parts_held() -> set[bytes]:
        return {part for one in in_force.values() for part in one.parts}

    def arrive(step: Push) -> None:
        flying[step.published.tenant] = step

    def answer(tenant: str, *, good: bool) -> None:
        step = flying.pop(tenant)
        others = {part for one in flying.values() for part in one.parts}
        complete = set(step.published.parts) <= parts_held() | set(step.parts) | others
        if good and complete:
            in_force[tenant] = step.published
            node.ack(held(step.published))
        else:
            node.nack(held(step.published))

    for move, number in moves:
        tenant = f"t{number}"
        if move == "want":
            generation += 1
            newest[tenant] = published(tenant, generation, b"wasm", b"%d" % (generation % 5))
            node.want(newest[tenant])
        elif move == "next" and isinstance(step := node.next(), Push):
            arrive(step)
        elif move in ("ack", "nack") and tenant in flying:
            answer(tenant, good=move == "ack")
        elif move == "stale":
            node.ack(Holding(tenant, 0, b"never sent"))
    for one in list(newest.values()):  # One more change each, and a node that takes what it can.
        generation += 1
        newest[one.tenant] = published(one.tenant, generation, b"wasm", b"%d" % generation)
        node.want(newest[one.tenant])
    for _ in range(20):
        while isinstance(step := node.next(), Push):
            arrive(step)
        for tenant in list(flying):
            answer(tenant, good=True)
    assert in_force == newest
