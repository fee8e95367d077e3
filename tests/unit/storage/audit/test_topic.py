"""What an audit notes of one topic: every difference counted, the first named, safe to print."""

import pytest

from storage.audit.topic import MAX_DIFFERENCES, Differences, TopicAudit, printable


def test_all_differences_are_counted_and_the_first_ones_kept() -> None:
    differences = Differences()
    for number in range(MAX_DIFFERENCES + 5):
        differences.add(f"difference {number}")
    assert differences.total == MAX_DIFFERENCES + 5
    assert differences.sentences == [f"difference {number}" for number in range(MAX_DIFFERENCES)]


def test_a_topic_counts_each_of_its_differences() -> None:
    differences = Differences()
    topic = TopicAudit("orders", differences)
    ranges = [[("orders", 1, 1, 7), ("orders", 2, 2, 8)]]
    topic.compare_ranges([[("orders", 1, "a", 7), ("orders", 2, "b", 8)]], ranges)
    topic.compare_counts([("orders", 9, 3, 1, 2, 5)])
    assert differences.sentences == [
        "topic 'orders': unique_processed is 3, but 2 rows are there",
        "topic 'orders': received is 9, but unique_processed + duplicate_dropped is 4",
        "topic 'orders': conflicts is 2, which is not within 0 and 1",
        "topic 'orders': last_ts_ingest is before the ts_ingest of the last row",
    ]
    assert topic.differences == 4
    assert (topic.rows, topic.head_offset) == (2, 2)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("orders", "'orders'"),
        ("it's", '"it\'s"'),
        ("caf\u00e9", "'caf\u00e9'"),
        ("caf\u00e9\x07", "'caf\\xe9\\x07'"),
        ("\udcff", "'\\udcff'"),
    ],
)
def test_a_text_is_shown_so_that_it_can_be_printed(text: str, printed: str) -> None:
    assert printable(text) == printed


def test_a_key_that_is_doubled_at_the_end_of_a_block_is_told_once() -> None:
    differences = Differences()
    topic = TopicAudit("orders", differences)
    topic.compare_keys([[("orders", name) for name in block] for block in ("abb", "c", "cd")])
    told = [sentence for sentence in differences.sentences if "more than once" in sentence]
    assert told == [
        f"topic 'orders': the event_id '{name}' is stored more than once" for name in "bc"
    ]


def test_time_that_stands_still_does_not_go_back() -> None:
    differences = Differences()
    rows = [("orders", offset, "x", time_us) for offset, time_us in enumerate([5, 5, 3, 3], 1)]
    ranges = [("orders", 1, 2, 5), ("orders", 3, 4, 3)]
    TopicAudit("orders", differences).compare_ranges([rows], [ranges])
    assert differences.sentences == ["topic 'orders': ts_ingest goes back at offset 3"]
