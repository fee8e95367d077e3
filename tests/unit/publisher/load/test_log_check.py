"""A log that is not what was sent is named: what is off, and where."""

import msgspec
import pytest
from unit.publisher.load.model import MakeScene, Scene


@pytest.fixture
def scene(make_scene: MakeScene) -> Scene:
    """All was sent, on a topic that had seven events before, and stored rightly."""
    made = make_scene(topics=1, heads=(7, 0, 0))
    made.publish_all()
    return made


def change(scene: Scene, place: int, **changes: object) -> None:
    log = scene.log["auth"]
    log[place] = msgspec.structs.replace(log[place], **changes)


def test_log_check_reports_missing_event(scene: Scene) -> None:
    lost = scene.log["auth"].pop(50)
    assert scene.check() == [
        f"the log of topic 'auth' has no event at offset 58 (the first is event {lost.event_id!r})"
    ]


def test_log_check_reports_missing_tail(scene: Scene) -> None:
    lost = scene.log["auth"][230:]
    del scene.log["auth"][230:]
    assert scene.check() == [
        (
            "the log of topic 'auth' has no event at offsets 238 to 247 (the first is event "
            f"{lost[0].event_id!r})"
        )
    ]


def test_log_check_reports_empty_log(scene: Scene) -> None:
    scene.log["auth"].clear()
    found = scene.check()
    assert len(found) == 1
    assert "has no event at offsets 8 to 247" in found[0]


def test_log_check_reports_event_doubled_behind_the_end(scene: Scene) -> None:
    again = scene.log["auth"][10]
    scene.log["auth"].append(msgspec.structs.replace(again, offset=248))
    assert scene.check() == [
        f"the log of topic 'auth' has event {again.event_id!r} at offset 248, which no verdict has"
    ]


def test_log_check_reports_event_read_twice(scene: Scene) -> None:
    scene.log["auth"].insert(11, scene.log["auth"][10])
    assert scene.check() == ["the log of topic 'auth' gives offset 18 behind 18"]


def test_log_check_reports_event_at_the_offset_of_another(scene: Scene) -> None:
    right = scene.log["auth"][10].event_id
    other = scene.log["auth"][11].event_id
    change(scene, 10, event_id=other)
    assert scene.check() == [
        f"the log of topic 'auth' has event {other!r} at offset 18, expected {right!r}"
    ]


def test_log_check_reports_gap_of_a_wrong_offset(scene: Scene) -> None:
    last = scene.log["auth"][-1]
    change(scene, -1, offset=248)
    assert scene.check() == [
        (
            f"the log of topic 'auth' has no event at offset 247 (the first is event "
            f"{last.event_id!r})"
        ),
        f"the log of topic 'auth' has event {last.event_id!r} at offset 248, which no verdict has",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\\u00eb", b"\xc3\xab"),
        (b'": ', b'":'),
        (b".10,", b".1,"),
        (b"1000000000000000", b"1000000000000001"),
        (b".10,", b".11,"),  # the payload of a conflict
    ],
)
def test_log_check_reports_changed_payload(scene: Scene, old: bytes, new: bytes) -> None:
    event = scene.log["auth"][10]
    payload = bytes(event.payload).replace(old, new, 1)
    change(scene, 10, payload=msgspec.Raw(payload))
    found = scene.check()
    assert len(found) == 1
    assert found[0].startswith(f"the log of topic 'auth' has payload {payload.decode()[:150]}")
    assert f"in event {event.event_id!r} at offset 18, expected" in found[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", "node-other"),  # that of a conflict
        ("timestamp", "2026-01-31T00:00:00.000009Z"),
    ],
)
def test_log_check_reports_changed_field(scene: Scene, field: str, value: str) -> None:
    change(scene, 10, **{field: value})
    found = scene.check()
    assert len(found) == 1
    assert f"has {field} {value} in event" in found[0]


def test_log_check_reports_timestamp_of_a_dropped_duplicate(scene: Scene) -> None:
    event = scene.log["auth"][10]
    other = event.timestamp[:-2] + str((int(event.timestamp[-2]) + 1) % 8) + "Z"
    change(scene, 10, timestamp=other)
    found = scene.check()
    assert len(found) == 1
    assert f"expected {event.timestamp}" in found[0]


def test_log_check_reports_another_topic(scene: Scene) -> None:
    change(scene, 10, topic="orders")
    assert scene.check() == ["the log of topic 'auth' has an event of topic 'orders' at offset 18"]


def test_log_check_reports_decreasing_ts_ingest(scene: Scene) -> None:
    change(scene, 10, ts_ingest="2026-01-31T23:59:59.999999Z")
    change(scene, 9, ts_ingest="2026-02-02T00:00:00.000000Z")
    found = scene.check()
    assert len(found) == 1
    assert "at offset 18, before 2026-02-02T00:00:00.000000Z" in found[0]


def test_of_many_differences_twenty_are_listed_and_all_are_counted(scene: Scene) -> None:
    for place in range(200):
        change(scene, place, source="somebody")
    scene.check()
    assert len(scene.findings.listed) == 20
    assert scene.findings.total == scene.findings.checks["log"] == 200
