"""The plan has exactly what was asked for, whatever that is, and each conflict one verdict."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from publisher.load.plan import DUPLICATE, NEW, NO_MARKER, OTHER_PAYLOAD, STAMPS, Plan, Shape


@st.composite
def shapes(
    draw: st.DrawFn, least_batch: int = 1, least_unique: int = 1, least_topics: int = 1
) -> Shape:
    events = draw(st.integers(least_unique, 600))
    duplicates = draw(st.integers(0, events - least_unique))
    conflicts = draw(st.integers(0, events - least_unique - duplicates))
    return Shape(
        events,
        duplicates,
        conflicts,
        batch=draw(st.integers(least_batch, 60)),
        topics=draw(st.integers(least_topics, 5)),
        concurrency=draw(st.integers(1, 4)),
        seed=draw(st.integers(0, 2**63)),
    )


@given(shapes())
def test_there_are_exactly_as_many_events_of_each_kind_as_asked_for(shape: Shape) -> None:
    plan = Plan(shape)
    assert len(plan.keys) == len(plan.kinds) == shape.events
    kinds = Counter(min(kind, OTHER_PAYLOAD) for kind in plan.kinds)
    assert kinds[NEW] == shape.events - shape.duplicates - shape.conflicts
    assert kinds[DUPLICATE] == shape.duplicates
    assert kinds[OTHER_PAYLOAD] == shape.conflicts
    requests = [list(plan.positions(request)) for request in range(shape.requests)]
    assert [place for request in requests for place in request] == list(range(shape.events))
    assert all(len(request) == shape.batch for request in requests[:-1])


@given(shapes())
def test_a_key_is_new_once_before_it_is_anything_else(shape: Shape) -> None:
    plan = Plan(shape)
    seen: set[int] = set()
    for key, kind in zip(plan.keys, plan.kinds, strict=True):
        assert (kind == NEW) == (key not in seen)
        seen.add(key)
    assert seen == set(range(shape.unique))


@given(shapes())
def test_the_counts_of_each_topic_are_those_of_its_events(shape: Shape) -> None:
    plan = Plan(shape)
    events: Counter[int] = Counter()
    conflicts: Counter[int] = Counter()
    keys: defaultdict[int, set[int]] = defaultdict(set)
    for key, kind in zip(plan.keys, plan.kinds, strict=True):
        topic = plan.topic_of[key]
        events[topic] += 1
        conflicts[topic] += kind >= OTHER_PAYLOAD
        keys[topic].add(key)
    topics = range(shape.topics)
    assert plan.events_of == [events[topic] for topic in topics]
    assert plan.conflicts_of == [conflicts[topic] for topic in topics]
    assert plan.unique_of == [len(keys[topic]) for topic in topics]


@given(shapes(least_unique=61, least_topics=2))
def test_the_same_shape_makes_the_same_plan_and_another_seed_another(shape: Shape) -> None:
    first, again = Plan(shape), Plan(shape)
    assert (first.keys, first.kinds, first.topic_of) == (again.keys, again.kinds, again.topic_of)
    other = Plan(
        Shape(
            shape.events,
            shape.duplicates,
            shape.conflicts,
            shape.batch,
            shape.topics,
            shape.concurrency,
            shape.seed + 1,
        )
    )
    assert (first.keys, first.kinds, first.topic_of) != (other.keys, other.kinds, other.topic_of)


@given(shapes())
def test_a_conflict_comes_behind_its_original_or_waits_for_the_request_that_has_it(
    shape: Shape,
) -> None:
    plan = Plan(shape)
    for request in range(shape.requests):
        needed = plan.needed_before(request)
        assert all(before < request for before in needed)
        # What is stored for certain when the request arrives, and what it stores on the way.
        stored = {
            plan.keys[place]
            for before in needed
            for place in plan.positions(before)
            if plan.kinds[place] < OTHER_PAYLOAD
        }
        for place in plan.positions(request):
            if plan.kinds[place] >= OTHER_PAYLOAD:
                assert plan.keys[place] in stored
            else:
                stored.add(plan.keys[place])


@given(shapes(least_batch=2))
def test_a_marker_is_in_no_other_request_and_each_request_that_can_has_one(shape: Shape) -> None:
    plan = Plan(shape)
    requests_of: defaultdict[int, set[int]] = defaultdict(set)
    for place, key in enumerate(plan.keys):
        requests_of[key].add(place // shape.batch)
    for request in range(shape.requests):
        marker = plan.markers[request]
        places = plan.positions(request)
        new = plan.kinds.count(NEW, places.start, places.stop)
        can_have_one = len(places) > 1 and (new > 1 if request == 0 else new > 0)
        assert (marker != NO_MARKER) == can_have_one
        if can_have_one:
            assert requests_of[marker] == {request}


@given(shapes())
def test_the_stamps_of_a_key_are_those_of_its_events(shape: Shape) -> None:
    plan = Plan(shape)
    stamps: defaultdict[int, int] = defaultdict(int)
    for place, (key, kind) in enumerate(zip(plan.keys, plan.kinds, strict=True)):
        if kind < OTHER_PAYLOAD:
            stamps[key] |= 1 << place % STAMPS
    assert list(plan.stamps) == [stamps[key] for key in range(shape.unique)]


def test_duplicates_are_in_the_same_request_in_recent_ones_and_anywhere() -> None:
    shape = Shape(20_000, 8_000, 600, batch=100, topics=3, concurrency=10, seed=1)
    plan = Plan(shape)
    last: dict[int, int] = {}
    back: Counter[str] = Counter()
    for place, (key, kind) in enumerate(zip(plan.keys, plan.kinds, strict=True)):
        request = place // shape.batch
        if kind == DUPLICATE:
            requests = request - last[key] // shape.batch
            back["same" if not requests else "recent" if requests <= 10 else "far"] += 1
        last[key] = place
    assert all(back[where] > shape.duplicates / 20 for where in ("same", "recent", "far")), back


def test_conflicts_hardly_ever_wait() -> None:
    shape = Shape(20_000, 6_000, 600, batch=100, topics=3, concurrency=10, seed=1)
    plan = Plan(shape)
    waits = [
        request - max(plan.needed_before(request), default=-shape.requests)
        for request in range(shape.requests)
    ]
    near = sum(1 for wait in waits if wait < shape.concurrency)
    assert near < shape.requests / 10


def test_some_conflicts_are_in_the_same_request_as_what_they_are_in_conflict_with() -> None:
    shape = Shape(20_000, 6_000, 600, batch=100, topics=3, concurrency=10, seed=1)
    plan = Plan(shape)
    same = 0
    # Behind the first requests, where there is nowhere else to be.
    for place in range(10_000, 20_000):
        start = plan.positions(place // shape.batch).start
        if plan.kinds[place] >= OTHER_PAYLOAD:
            same += plan.keys[place] in plan.keys[start:place]
    assert same > 300 / 20
