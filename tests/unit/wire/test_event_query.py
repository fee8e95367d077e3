"""The query string of a read and its cursors."""

from base64 import urlsafe_b64encode
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.wire import event_query as wire_query
from aggregator.wire.errors import InvalidRequest
from aggregator.wire.event_query import ReadRequest
from storage.model import INT64_MAX, MAX_TIME_US, MIN_TIME_US, Position, Query

TOPICS = st.text("abzAZ019._-", min_size=1, max_size=20)
SOURCES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("+&=%#; /?"),
    min_size=1,
    max_size=10,
)
POSITIONS = st.builds(
    Position, st.integers(MIN_TIME_US, MAX_TIME_US - 1), TOPICS, st.integers(0, INT64_MAX)
)


@st.composite
def parameters(draw: st.DrawFn) -> dict[str, str]:
    sent: dict[str, str] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "topic": TOPICS,
                "source": SOURCES,
                "order": st.sampled_from(["asc", "desc"]),
                "limit": st.integers(1, 5000).map(str),
                "since": st.sampled_from(["2026-01-31", "2026-01-31T12:00:00+07:00"]),
                "until": st.sampled_from(["9999-12-31", "20260131T120000Z"]),
            },
        )
    )
    begins = draw(st.sampled_from(["", "after", "from"])) if "topic" in sent else ""
    if begins:
        sent[begins] = "start" if begins == "from" else str(draw(st.integers(0, INT64_MAX)))
    return sent


NOW_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""


def parse_query(query_string: str) -> ReadRequest:
    return wire_query.parse_query(query_string, NOW_US)


def encoded(sent: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in sent.items())


def refused(query_string: str) -> set[str]:
    """The parameters that are told to be wrong; empty if the query as a whole is."""
    with pytest.raises(InvalidRequest) as caught:
        parse_query(query_string)
    return {error.field for error in caught.value.errors}


def test_empty_query_selects_the_newest_hundred_events() -> None:
    assert parse_query("").query == Query(newest_first=True, limit=100)


def test_after_defaults_to_ascending_order() -> None:
    query = parse_query("topic=a&after=7").query
    assert query == Query(topic="a", after=7, newest_first=False)
    assert parse_query("topic=a&after=7&order=desc").query.newest_first
    assert parse_query("topic=a").query.newest_first


def test_from_start_begins_before_the_first_offset_in_ascending_order() -> None:
    query = parse_query("topic=a&from=start").query
    assert query == Query(topic="a", after=0, newest_first=False)
    assert parse_query("topic=a&from=start&order=desc").query.newest_first


@pytest.mark.parametrize(
    ("query_string", "can_wait"),
    [
        ("topic=a&after=0", True),
        ("topic=a&after=7&order=asc&source=s&since=5m&limit=1", True),
        ("topic=a&from=start", True),
        ("topic=a", False),
        ("topic=a&order=asc", False),
        ("order=asc", False),
        ("topic=a&after=0&order=desc", False),
        ("topic=a&from=start&order=desc", False),
        ("topic=a&after=0&until=5m", False),
        ("topic=a&after=0&until=9999-01-01", False),
        ("topic=a&event_id=1", False),
    ],
)
def test_wait_fits_ascending_pages_of_one_topic_from_a_place(
    query_string: str, *, can_wait: bool
) -> None:
    assert parse_query(query_string).can_wait is can_wait


def test_wait_does_not_fit_a_page_with_a_cursor() -> None:
    first = parse_query("topic=a&after=0")
    target = first.next_target(Position(NOW_US, "a", 1))
    assert not parse_query(target.removeprefix("?")).can_wait


@given(parameters(), POSITIONS)
@example({}, Position(MIN_TIME_US, "a", 0))
@example({"topic": "a"}, Position(MAX_TIME_US - 1, "a", INT64_MAX))
def test_next_link_has_the_same_filters_and_its_position(
    sent: dict[str, str], position: Position
) -> None:
    if "topic" in sent:
        position = Position(position.ts_ingest_us, sent["topic"], position.offset)
    first = parse_query(encoded(sent))
    assert first.query.position is None
    target = urlsplit(first.next_target(position))
    # A query alone: it leads to the path that it was read from.
    assert (target.scheme, target.netloc, target.path) == ("", "", "")
    again = parse_query(target.query)
    assert again.query == Query(
        topic=first.query.topic,
        source=first.query.source,
        since_us=first.query.since_us,
        until_us=first.query.until_us,
        after=first.query.after,
        newest_first=first.query.newest_first,
        limit=first.query.limit,
        position=position,
    )
    assert again.parameters == first.parameters == sent


@given(parameters(), parameters(), POSITIONS)
def test_cursor_with_other_filters_is_refused(
    sent: dict[str, str], other: dict[str, str], position: Position
) -> None:
    if "topic" in sent:
        position = Position(position.ts_ingest_us, sent["topic"], position.offset)
    target = parse_query(encoded(sent)).next_target(position)
    cursor = target.rpartition("cursor=")[2]
    filters = [{k: v for k, v in each.items() if k != "limit"} for each in (sent, other)]
    query_string = f"{encoded(other)}&cursor={cursor}"
    if filters[0] == filters[1]:
        assert parse_query(query_string).query.position == position
    else:
        assert refused(query_string) == {"cursor"}


@given(st.text("ABCabc019-_=", max_size=60))
def test_cursor_parser_accepts_or_refuses_any_text(text: str) -> None:
    if text:
        assert refused(f"cursor={quote(text)}") == {"cursor"}


@pytest.mark.parametrize(
    "content", [b'["f",[1,"t",2],' + b"[" * 5000, b'["f",[1,"t",2,' + b"[" * 5000, b'["\xff"']
)
def test_undecodable_cursor_is_refused(content: bytes) -> None:
    assert refused("cursor=" + urlsafe_b64encode(content).decode().rstrip("=")) == {"cursor"}


@given(st.text(max_size=40) | st.text("topicafterlimt=&%+0123456789\udcff", max_size=40))
def test_query_parser_accepts_or_refuses_any_text(query_string: str) -> None:
    told = "read"
    try:
        parse_query(query_string)
    except InvalidRequest as error:
        told = str(error)
    assert told.encode()


@pytest.mark.parametrize(
    ("query_string", "fields"),
    [
        ("unknown=1", set()),
        ("limit=1&limit=2", set()),
        ("topic", set()),
        ("topic=", set()),
        ("topic=%FF", set()),
        ("topic=a%20b", {"topic"}),
        ("source=%00", {"source"}),
        ("after=0", {"after"}),
        ("from=start", {"from"}),
        ("topic=a&from=now", {"from"}),
        ("topic=a&from=START", {"from"}),
        ("topic=a&from=start&after=0", {"from"}),
        ("topic=a&from=", set()),
        ("topic=a&after=9223372036854775808", {"after"}),
        ("topic=a&after=%D9%A1", {"after"}),
        ("topic=a&after=" + "1" * 10_000, {"after"}),
        (
            "limit=0&order=up&since=x&until=y&after=-1",
            {"limit", "order", "since", "until", "after"},
        ),
    ],
)
def test_refused_query_names_the_parameter_and_the_rule(
    query_string: str, fields: set[str]
) -> None:
    assert refused(query_string) == fields


@pytest.mark.parametrize(
    ("text", "back_us"),
    [
        ("0s", 0),
        ("1s", 10**6),
        ("90s", 90 * 10**6),
        ("5m", 300 * 10**6),
        ("2h", 7200 * 10**6),
        ("3d", 3 * 86_400 * 10**6),
        ("007d", 7 * 86_400 * 10**6),
    ],
)
def test_duration_counts_back_from_now(text: str, back_us: int) -> None:
    query = parse_query(f"since={text}&until={text}").query
    assert query.since_us == query.until_us == NOW_US - back_us


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "5w",
        "5M",
        "5ms",
        "1.5h",
        "-5m",
        "%2B5m",
        "5%20m",
        "m",
        "1h30m",
        "\u0665m",
        "999999999999d",
        "1" * 5000 + "s",
    ],
)
def test_malformed_duration_is_refused(text: str) -> None:
    assert refused(f"since={quote(text, safe='%')}") == {"since"}


def test_next_page_keeps_the_time_of_a_duration() -> None:
    first = parse_query("topic=a&after=0&since=5m&until=1s")
    target = first.next_target(Position(NOW_US, "a", 1))
    again = wire_query.parse_query(target.removeprefix("?"), NOW_US + 3_600_000_000)
    assert again.query.position == Position(NOW_US, "a", 1)
    assert (again.query.since_us, again.query.until_us) == (
        first.query.since_us,
        first.query.until_us,
    )
    assert again.parameters["since"] == "2025-12-31T23:55:00.000000Z"


def test_topic_and_event_id_select_one_event() -> None:
    wanted = parse_query("topic=..&event_id=a%2F.%20b")
    assert (wanted.query.topic, wanted.event_id) == ("..", "a/. b")
    assert parse_query("topic=a").event_id is None


@pytest.mark.parametrize(
    ("query_string", "fields"),
    [
        ("event_id=1", {"event_id"}),
        ("topic=a&event_id=%00", {"event_id"}),
        ("topic=a%20b&event_id=1", {"topic"}),
        ("topic=a&event_id=1&after=0&order=asc", {"after", "order"}),
        ("topic=a&event_id=1&source=s&since=5m&until=1m", {"source", "since", "until"}),
        ("topic=a&event_id=1&limit=1&cursor=x", {"limit", "cursor"}),
        ("topic=a&event_id=1&from=start", {"from"}),
    ],
)
def test_parameters_beside_event_id_are_refused_by_name(
    query_string: str, fields: set[str]
) -> None:
    assert refused(query_string) == fields
