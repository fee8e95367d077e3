"""Counts that are off by one are named, on the way and at the end."""

import msgspec
import pytest
from unit.publisher.load.model import MakeScene, Scene

from publisher.load.plan import OTHER_PAYLOAD
from publisher.load.stats_check import check_increase


def falsified(scene: Scene, topic: str, **changes: int) -> None:
    counts = scene.counts[topic]
    scene.counts[topic] = msgspec.structs.replace(
        counts, **{name: getattr(counts, name) + more for name, more in changes.items()}
    )


@pytest.mark.parametrize("off", [-1, 1])
def test_received_off_by_one_is_a_difference_per_topic_and_in_all(
    make_scene: MakeScene, off: int
) -> None:
    scene = make_scene()
    scene.publish_all()
    falsified(scene, "orders", received=off, duplicate_dropped=off)
    sent = scene.plan.events_of[1]
    found = scene.check()
    assert f"received of topic 'orders' rose by {sent + off}, expected {sent}" in found
    assert f"received of all topics together rose by {400 + off}, expected 400" in found
    # One event less than was answered for is also too few for the answers.
    assert len(found) == (2 if off == 1 else 3)


@pytest.mark.parametrize("off", [-1, 1])
def test_unique_processed_off_by_one_is_a_difference(make_scene: MakeScene, off: int) -> None:
    scene = make_scene()
    scene.publish_all()
    falsified(scene, "auth", unique_processed=off, duplicate_dropped=-off, head_offset=off)
    unique = scene.plan.unique_of[0]
    found = scene.check()
    assert f"unique_processed of topic 'auth' rose by {unique + off}, expected {unique}" in found
    assert f"head_offset of topic 'auth' rose by {unique + off}, expected {unique}" in found
    assert f"unique_processed of all topics together rose by {240 + off}, expected 240" in found
    assert len(found) == 3


@pytest.mark.parametrize("off", [-1, 1])
def test_conflicts_off_by_one_are_a_difference(make_scene: MakeScene, off: int) -> None:
    scene = make_scene()
    scene.publish_all()
    falsified(scene, "payment", conflicts=off)
    sent = scene.plan.conflicts_of[2]
    assert scene.check() == [
        f"conflicts of topic 'payment' rose by {sent + off}, expected {sent}",
        f"conflicts of all topics together rose by {40 + off}, expected 40",
    ]


def test_counts_of_other_topics_are_ignored(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.publish_all()
    scene.counts["elsewhere"] = msgspec.structs.replace(
        scene.counts["auth"],
        received=9,
        unique_processed=9,
        duplicate_dropped=0,
        conflicts=0,
        head_offset=9,
    )
    assert scene.check() == []


def test_whole_lost_attempts_are_possible_and_parts_are_not(
    make_scene: MakeScene,
) -> None:
    scene = make_scene(batch=20)
    for request in range(scene.plan.shape.requests):
        if request in {3, 7}:
            scene.publish(request)
            scene.respond(request, tries=2)
        else:
            scene.respond(request)
    assert scene.check() == []
    falsified(scene, "auth", received=1, duplicate_dropped=1)
    found = [sentence for sentence in scene.check() if "all topics" in sentence]
    assert found == [
        (
            "received of all topics together rose by 441, expected 440 or 460 with 4 tries whose "
            "answer was lost"
        )
    ]


def test_lost_attempt_with_duplicate_marker_must_be_counted(make_scene: MakeScene) -> None:
    scene = make_scene()
    for request in range(scene.plan.shape.requests):
        if request == 3:
            before = dict(scene.counts)
            scene.publish(request)
            scene.counts = before
            scene.respond(request, tries=1)
        else:
            scene.respond(request)
    found = scene.check()
    assert (
        "received of all topics together rose by 400, expected 420 with 1 try whose answer was "
        "lost" in found
    )


def test_increase_separates_the_part_of_lost_attempts(make_scene: MakeScene) -> None:
    scene = make_scene()
    for request in range(scene.plan.shape.requests):
        if request == 5:
            scene.publish(request)
            scene.respond(request, tries=1)
        else:
            scene.respond(request)
    rise = check_increase(
        scene.plan,
        ("auth", "orders", "payment"),
        scene.before,
        scene.stats(),
        scene.verdicts,
        scene.findings,
    )
    conflicts = sum(scene.plan.kinds[p] >= OTHER_PAYLOAD for p in scene.plan.positions(5))
    assert rise == (420, 240, 40 + conflicts, 20, conflicts)


def test_stats_without_conservation_are_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.respond(0)
    falsified(scene, "auth", received=1)
    scene.stats_check.check(scene.stats(), 0)
    counts = scene.counts["auth"]
    expected = counts.unique_processed + counts.duplicate_dropped
    assert (
        f"in an answer of /stats received of topic 'auth' is {expected + 1}, expected {expected}"
        in scene.sentences
    )
    assert len(scene.sentences) == 2  # and that of all topics


def test_total_other_than_the_sum_of_topics_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.respond(0)
    right = scene.stats()
    scene.stats_check.check(msgspec.structs.replace(right, conflicts=right.conflicts + 1), 0)
    assert scene.sentences == [
        (
            "in an answer of /stats conflicts, the sum of all topics, is "
            f"{right.conflicts + 1}, expected {right.conflicts}"
        )
    ]


def test_head_offset_other_than_unique_processed_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    falsified(scene, "auth", head_offset=1)
    scene.stats_check.check(scene.stats(), 0)
    assert scene.sentences == [
        "in an answer of /stats head_offset of topic 'auth' is 8, expected 7"
    ]


def test_more_conflicts_than_duplicates_are_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    falsified(scene, "auth", conflicts=1)
    scene.stats_check.check(scene.stats(), 0)
    assert (
        "in an answer of /stats conflicts of topic 'auth' is 1 of 0 duplicate_dropped"
        in scene.sentences
    )


def test_falling_count_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    falsified(scene, "payment", received=-1, unique_processed=-1, head_offset=-1)
    scene.stats_check.check(scene.stats(), 0)
    assert "in an answer of /stats received of topic 'payment' fell from 3 to 2" in scene.sentences


def test_count_falling_since_an_earlier_response_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    early = scene.stats()
    scene.respond(0)
    scene.stats_check.check(scene.stats(), 0)
    was = scene.counts["auth"].received
    assert was > 7
    scene.stats_check.check(early, 0)
    assert f"in an answer of /stats received of topic 'auth' fell from {was} to 7" in (
        scene.sentences
    )


def test_missing_topic_is_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    del scene.counts["auth"]
    scene.stats_check.check(scene.stats(), 0)
    assert "in an answer of /stats received of topic 'auth' fell from 7 to 0" in scene.sentences


def test_unlisted_topics_are_not_missing(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.respond(0)
    scene.stats_check.check(scene.listed(2), 20)
    assert scene.sentences == []


def test_a_count_that_falls_is_named_although_an_answer_between_did_not_list_it(
    make_scene: MakeScene,
) -> None:
    scene = make_scene()
    scene.stats_check.check(scene.listed(2), 0)
    falsified(scene, "payment", received=-1, unique_processed=-1, head_offset=-1)
    scene.stats_check.check(scene.stats(), 0)
    assert "in an answer of /stats received of topic 'payment' fell from 3 to 2" in scene.sentences


def test_stats_without_acknowledged_events_are_a_difference(make_scene: MakeScene) -> None:
    scene = make_scene()
    scene.respond(0)
    scene.stats_check.check(scene.stats(), 20)
    assert scene.sentences == []
    scene.stats_check.check(scene.stats(), 21)
    assert scene.sentences == [
        (
            "in an answer of /stats received is 30 after 21 events were acknowledged, expected 31 "
            "at least"
        )
    ]
    assert scene.stats_check.responses == 3
