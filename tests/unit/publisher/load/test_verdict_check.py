"""What the aggregator tells is held against the plan and against itself."""

from collections.abc import Sequence

import msgspec
import pytest
from unit.publisher.load.model import MakeScene, Scene

from publisher.errors import EventRejected
from publisher.load.plan import DUPLICATE, NEW, NO_MARKER, OTHER_PAYLOAD, Plan
from publisher.load.possible_counts import LostAttempts
from publisher.load.verdict_check import KeyAlreadyStored
from publisher.response import Outcome, Verdict


def changed(verdicts: Sequence[Verdict], place: int, **changes: object) -> list[Verdict]:
    copy = list(verdicts)
    copy[place] = msgspec.structs.replace(verdicts[place], **changes)
    return copy


def place_of(plan: Plan, request: int, kind: int) -> int:
    positions = plan.positions(request)
    return plan.kinds.index(kind, positions.start, positions.stop) - positions.start


def test_correct_run_has_no_differences(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.publish_all()
    assert scene.check() == []
    verdicts, shape = scene.verdicts, scene.plan.shape
    assert (verdicts.stored, verdicts.duplicates) == (shape.unique, shape.duplicates)
    assert (verdicts.conflicts, verdicts.rejected) == (shape.conflicts, 0)
    assert (verdicts.requests, verdicts.events) == (shape.requests, shape.events)
    assert set(scene.findings.checks) == {
        "verdicts",
        "offsets_told",
        "dense_offsets",
        "stats_seen",
        "counts",
        "log",
    }


def test_requests_stored_in_another_order_have_no_differences(make_scene: MakeScene) -> None:
    # Without conflicts nothing says which request must come first.
    scene = make_scene(conflicts=0, concurrency=8)
    for request in reversed(range(scene.plan.shape.requests)):
        scene.respond(request)
    assert scene.check() == []


def test_conflict_with_verdict_duplicate_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    request = next(
        r
        for r in range(20)
        if OTHER_PAYLOAD in {scene.plan.kinds[p] for p in scene.plan.positions(r)}
    )
    for before in range(request):
        scene.respond(before)
    place = place_of(scene.plan, request, OTHER_PAYLOAD)
    verdict = (answer := scene.publish(request))[place]
    scene.respond(request, changed(answer, place, status="duplicate"))
    assert scene.sentences == [
        (f"event {verdict.event_id!r} of topic {verdict.topic!r} got duplicate, expected conflict")
    ]


def test_duplicate_with_verdict_conflict_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.respond(0)
    place = place_of(scene.plan, 1, DUPLICATE)
    scene.respond(1, changed(scene.publish(1), place, status="conflict"))
    assert len(scene.sentences) == 1
    assert "got conflict, expected stored or duplicate" in scene.sentences[0]


def test_key_stored_twice_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene(conflicts=0, batch=1)
    duplicate = scene.plan.kinds.index(DUPLICATE)
    for request in range(duplicate):
        scene.respond(request)
    scene.respond(duplicate, changed(scene.publish(duplicate), 0, status="stored"))
    assert len(scene.sentences) == 1
    assert "got stored twice" in scene.sentences[0]


def test_key_with_two_offsets_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene(conflicts=0, batch=1)
    duplicate = scene.plan.kinds.index(DUPLICATE)
    for request in range(duplicate):
        scene.respond(request)
    answer = scene.publish(duplicate)
    offset = answer[0].offset
    scene.respond(duplicate, changed(answer, 0, offset=offset + 5))
    assert len(scene.sentences) == 1
    assert f"got offset {offset}, then {offset + 5}" in scene.sentences[0]


def test_new_events_with_descending_offsets_are_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene(conflicts=0, duplicates=0, topics=1)
    answer = scene.publish(0)
    swapped = changed(answer, 3, offset=answer[4].offset)
    scene.respond(0, changed(swapped, 4, offset=answer[3].offset))
    assert len(scene.sentences) == 1
    assert "which was sent before it in the same request" in scene.sentences[0]


def test_marker_with_verdict_duplicate_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    answer = scene.publish(0)
    places = [scene.plan.keys[place] for place in scene.plan.positions(0)]
    place = places.index(scene.plan.markers[0])
    scene.respond(0, changed(answer, place, status="duplicate"))
    assert "got duplicate, expected stored: it is in no other request" in scene.sentences[0]


def test_key_that_never_got_stored_is_a_difference_at_the_end(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(conflicts=0, duplicates=0, batch=1)
    scene.respond(0, changed(scene.publish(0), 0, status="duplicate"))
    for request in range(1, scene.plan.shape.requests):
        scene.respond(request)
    sentences = scene.check()
    assert len(sentences) == 1
    assert "never got stored, though every try of it was answered" in sentences[0]


def test_rejected_event_is_a_difference_with_its_reason(make_scene: MakeScene) -> None:
    scene = make_scene()
    answer: list[Outcome] = [*scene.publish(0)]
    answer[2] = EventRejected("the payload is too large")
    scene.respond(0, answer)
    assert scene.verdicts.rejected == 1
    assert "was rejected (the payload is too large), expected a verdict" in scene.sentences[0]


def test_key_from_before_the_run_raises(make_scene: MakeScene) -> None:
    scene = make_scene(topics=1, heads=(7, 0, 0))
    answer = scene.publish(0)
    with pytest.raises(KeyAlreadyStored, match="was in the log before this run, at offset 7"):
        scene.respond(0, changed(answer, 0, status="duplicate", offset=7))


def test_offset_of_two_keys_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene(conflicts=0, duplicates=0, batch=1, topics=1)
    first = scene.publish(0)[0]
    scene.respond(0, [first])
    second = scene.publish(1)
    scene.respond(1, changed(second, 0, offset=first.offset))
    for request in range(2, scene.plan.shape.requests):
        scene.respond(request)
    scene.verdicts.finish()
    assert len(scene.sentences) == 1
    assert f"got offset {first.offset}, as event {first.event_id!r}" in scene.sentences[0]


def test_offset_beyond_the_last_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene(conflicts=0, duplicates=0, batch=1, topics=1, heads=(7, 0, 0))
    scene.respond(0, changed(scene.publish(0), 0, offset=408))
    for request in range(1, scene.plan.shape.requests):
        scene.respond(request)
    scene.verdicts.finish()
    assert scene.sentences == [
        (
            f"event {scene.content.event_id(0)!r} of topic 'auth' got offset 408, "
            "expected 407 at most"
        )
    ]


def test_on_one_connection_every_offset_is_known_in_advance(make_scene: MakeScene) -> None:
    scene = make_scene(concurrency=1, conflicts=0)
    for request in (1, 0, *range(2, scene.plan.shape.requests)):
        scene.respond(request)
    scene.verdicts.finish()
    checks = scene.findings.checks
    assert checks["known_offsets"] > 0
    assert sum(checks.values()) == checks["known_offsets"]
    again = make_scene(concurrency=1)
    again.publish_all()
    assert again.check() == []
    assert again.findings.checks["known_offsets"] == 0


def lost_request(scene: Scene) -> int:
    """A request of several events that has a marker, and conflicts."""
    return next(
        request
        for request in range(5, scene.plan.shape.requests)
        if scene.plan.markers[request] != NO_MARKER
        and OTHER_PAYLOAD in {scene.plan.kinds[p] for p in scene.plan.positions(request)}
    )


def test_duplicate_marker_proves_an_earlier_attempt(make_scene: MakeScene) -> None:
    scene = make_scene()
    request = lost_request(scene)
    for number in range(scene.plan.shape.requests):
        if number == request:
            scene.publish(number)
            scene.respond(number, tries=3)
        else:
            scene.respond(number)
    assert scene.verdicts.lost_attempts() == [(request, 1, 3)]
    places = scene.plan.positions(request)
    assert scene.verdicts.lost_counts(None, conflicts=False) == [LostAttempts(1, 3, 20)]
    by_topic = [scene.verdicts.lost_counts(topic, conflicts=False)[0].amount for topic in range(3)]
    keys = [scene.plan.keys[place] for place in places]
    assert by_topic == [sum(scene.plan.topic_of[k] == topic for k in keys) for topic in range(3)]
    conflicts = sum(scene.plan.kinds[place] >= OTHER_PAYLOAD for place in places)
    assert scene.verdicts.lost_counts(None, conflicts=True) == [LostAttempts(1, 3, conflicts)]
    assert scene.check() == []


def test_new_event_disproves_an_earlier_attempt(
    make_scene: MakeScene,
) -> None:
    scene = make_scene()
    for request in range(scene.plan.shape.requests):
        scene.respond(request, tries=2)
    without = {
        request
        for request in range(scene.plan.shape.requests)
        if NEW not in {scene.plan.kinds[p] for p in scene.plan.positions(request)}
    }
    assert {request for request, _, _ in scene.verdicts.lost_attempts()} <= without
    assert scene.check() == []


def test_attempt_that_timed_out_may_be_stored_later(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.respond(0, tries=3, late=1)
    assert scene.verdicts.lost_attempts() == [(0, 0, 1)]


def test_request_without_marker_leaves_its_attempts_open(make_scene: MakeScene) -> None:
    scene = make_scene(conflicts=0, batch=1)
    duplicate = scene.plan.kinds.index(DUPLICATE)
    for request in range(duplicate):
        scene.respond(request)
    scene.respond(duplicate, tries=2)
    assert scene.verdicts.lost_attempts() == [(duplicate, 0, 2)]


def test_stamp_is_that_of_the_event_with_verdict_stored(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(conflicts=0)
    scene.publish_all()
    for key in range(scene.plan.shape.unique):
        assert scene.verdicts.stamps(key) == [scene.plan.keys.index(key) % 8]
    lost = make_scene(conflicts=0)
    lost.publish(0)
    lost.respond(0, tries=1)
    many = [key for key in set(lost.plan.keys[:20]) if len(lost.verdicts.stamps(key)) > 1]
    assert many
    for key in many:
        sent = {p % 8 for p in range(400) if lost.plan.keys[p] == key}
        assert set(lost.verdicts.stamps(key)) == sent
