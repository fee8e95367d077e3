"""The commands about subscriptions, against a real aggregator: what they do, print, and refuse."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from support.events import published
from support.load import Told, publish
from support.subscriber_commands import PROGRAM, Call, caller, serving
from support.subscribing import check_law


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, processes: None) -> Iterator[str]:
    """One aggregator for all tests here, each of which has topics and subscriptions of its own."""
    with serving(tmp_path_factory) as url:
        yield url


@pytest.fixture
def call(url: str, capfd: pytest.CaptureFixture[str]) -> Call:
    """Calls commands."""
    return caller(url, capfd)


def fill(url: str, *topics: str) -> None:
    """Store an event in each of some topics."""

    async def store() -> None:
        async with aiohttp.ClientSession() as session:
            batch = [published(topic=topic) for topic in topics]
            assert await publish(session, url, batch, Told()) == 200

    asyncio.run(store())


def test_create_makes_a_subscription_once_with_all_of_its_settings(call: Call) -> None:
    settings = (
        "made orders users.* --source shop --order topic --lease-ms 2000 --max-deliveries 3 "
        "--backoff-ms 0,50 --on-dead pause --stop-after-dead never --max-leased 70"
    )
    assert call(f"create {settings}") == (0, "made the subscription 'made'\n", "")
    there = "the subscription 'made' is there already, with these settings\n"
    assert call(f"create {settings}") == (0, there, "")
    (made,) = call("subscriptions made").objects
    assert made["settings"] == {
        "topics": ["orders", "users.*"],
        "from": "now",
        "source": "shop",
        "order": "topic",
        "lease_ms": 2000,
        "max_deliveries": 3,
        "backoff_ms": [0, 50],
        "on_dead": "pause",
        "stop_after_dead": None,
        "max_leased": 70,
    }
    differing = call(f"create {settings} --lease-ms 3000 --order none --on-dead continue")
    assert (differing.status, differing.out) == (1, "")
    assert differing.err == (
        f"{PROGRAM} create: the answer is 409: the subscription 'made' is there with other "
        'settings: order is "topic", not "none", lease_ms is 2000, not 3000, on_dead is "pause", '
        'not "continue"\n'
    )


def test_create_begins_where_it_is_told_to(url: str, call: Call) -> None:
    fill(url, "begins.a", "begins.a", "begins.a", "begins.b")
    for name, option, waiting in (
        ("b1", "", 0),
        ("b2", "--from start", 4),
        ("b3", "--since 1h", 4),
        ("b4", "--since 2999-01-01T00:00:00Z", 0),
        ("b5", "--after begins.a=2 --after begins.b=1", 1),
        ("b6", "--after begins.a=2 begins.b=1", 1),
    ):
        assert call(f"create {name} begins.* {option}").status == 0
        (made,) = call(f"subscriptions {name}").objects
        check_law(made)
        assert made["waiting"] == waiting


def test_subscriptions_lists_all_pages_and_shows_all_topics(url: str, call: Call) -> None:
    names = [f"listed-{number:03}" for number in range(101)]
    topics = [f"many.t{number:04}" for number in range(1001)]
    fill(url, *topics)
    call("create many many.* --from start")

    async def make() -> None:
        async with aiohttp.ClientSession(url) as session:
            for name in names:
                body = {"topics": ["a", "b", "c", "d"], "from": "start"}
                async with session.put(f"/subscriptions/{name}", json=body) as response:
                    assert response.status == 201

    asyncio.run(make())
    listed = [each for each in call("subscriptions").objects if each["name"] in names]
    assert [each["name"] for each in listed] == names
    first, second = call("subscriptions many").objects
    assert [*first["topics"], *second["topics"]] == topics
    text = call("subscriptions many --format text").out
    rows = [line.split() for line in text.splitlines() if line.startswith("many.t")]
    assert [(row[0], row[6]) for row in rows] == [(topic, "1") for topic in topics]
    assert "1,001 - 0 = 0 + 0 + 0 + 1,001\n" in text
    assert "Its 1,001 topics were looked at one page after the other.\n" in text

    table = call("subscriptions --format text").out.splitlines()
    heads = ["name", "state", "topics", "lag events", "lag seconds", "leased", "dead"]
    assert [head.strip() for head in table[0].split("  ") if head] == heads
    row = next(line for line in table if line.startswith("listed-100"))
    assert row.split("  ")[:3] == ["listed-100", "active", "a, b, c and 1 more"]
    row = next(line for line in table if line.startswith("many"))
    assert row.split()[1:4:2] == ["active", "1,001"]


def test_subscription_is_shown_with_its_settings_and_numbers_that_add_up(
    url: str, call: Call
) -> None:
    fill(url, "law.a", "law.a", "law.a", "law.b")
    call("create law law.* --from start")
    assert call("lease law --ack --max-events 2 --format text").status == 0
    assert call("lease law --keep --max-events 1").status == 0
    assert call("pause law") == (0, "the subscription 'law' is paused\n", "")
    lines = call("subscriptions law --format text").out.splitlines()
    assert lines[0] == "law is paused (paused by request)"
    assert 'topics           ["law.*"]' in lines
    rows = {line.split()[0]: line.split()[1:7] for line in lines if line.startswith(("law.", "(a"))}
    assert rows.pop("(all)") == ["4", "0", "2", "0", "1", "1"]
    assert sum(int(row[0]) for row in rows.values()) == 4
    assert lines[-2:] == [
        "head - start = acknowledged + dead + leased + waiting",
        "4 - 0 = 2 + 0 + 1 + 1",
    ]


def test_paused_subscription_leases_nothing_until_it_is_resumed(url: str, call: Call) -> None:
    fill(url, "switched")
    call("create switched switched --from start")
    assert call("pause switched").status == 0
    nothing = f"{PROGRAM} lease: there is nothing to lease\n"
    assert call("lease switched") == (0, "", nothing)
    assert call("resume switched") == (0, "the subscription 'switched' is active\n", "")
    assert len(call("lease switched").objects) == 1
    assert call("delete switched") == (0, "deleted the subscription 'switched'\n", "")
    gone = f"{PROGRAM} delete: the answer is 404: there is no subscription 'switched'\n"
    assert call("delete switched") == (1, "", gone)


def test_seek_says_what_comes_again_and_what_is_skipped(url: str, call: Call) -> None:
    fill(url, "sought", "sought", "sought", "sought")
    call("create sought sought --from start")
    call("lease sought --ack --max-events 3")
    would = "3 events would come again, 0 would be skipped; nothing was moved\n"
    assert call("seek sought --to start --dry-run") == (0, would, "")
    assert call("subscriptions sought").objects[0]["waiting"] == 1
    assert call("seek sought --offset sought=2").out == "1 event will come again, 0 are skipped\n"
    assert call("seek sought --to now").out == "0 events will come again, 2 are skipped\n"
    assert call("seek sought --since 1h").out == "4 events will come again, 0 are skipped\n"
    assert call("subscriptions sought").objects[0]["waiting"] == 4


REFUSED = [
    ("create x", "create: the following arguments are required: TOPIC"),
    ("create .. t", "create: argument NAME: '..' is not 1 to 249 characters of"),
    ("create x a/b", "create: argument TOPIC: 'a/b' is not"),
    ("create x a..*b", "create: the answer is 422: the settings are invalid: topics holds a name"),
    ("create x t --lease-ms 1", "create: the answer is 422: the settings are invalid: lease_ms"),
    ("create x t --backoff-ms 1;2", "create: argument --backoff-ms: '1;2' is not numbers of"),
    ("create x t --since 1yy", "create: the answer is 422: "),
    ("create x t --since 1h --from now", "create: only one of --from, --since and --after says"),
    ("create x t --after t=1 t=2", "create: two offsets are given for 't': 1 and 2"),
    ("create x t --after t", "create: argument --after: 't' is not TOPIC=N, such as orders=17"),
    ("create x t --after t=9", "create: the answer is 422: from.offsets has 9 for 't', above its"),
    ("create x t --stop-after-dead 0", "create: argument --stop-after-dead: '0' is not a whole"),
    ("seek x", "seek: one of --to, --since and --offset has to say where to begin"),
    ("dead x --retry t:1", "dead: argument --retry: 't:1' is not TOPIC/OFFSET, such as orders/17"),
    ("dead x --retry t/1 --drop t/2", "dead: argument --drop: not allowed with argument --retry"),
    ("lease x --max-events 0", "lease: argument --max-events: '0' is not a whole number from 1"),
    ("lease x --ack --keep", "lease: argument --keep: not allowed with argument --ack"),
    ("run x --concurrency 0 -- cat", "run: argument --concurrency: '0' is not a whole number"),
    ("run x --consumer \a -- cat", "run: argument --consumer: '\\x07' is not 1 to 256 printable"),
    ("run x", "run: the command stands behind --: run x -- COMMAND"),
    ("run x ./y z", "run: the command stands behind --: run x -- ./y z"),
    ("run x -- ./nowhere -- -x", "run: cannot start './nowhere': No such file or directory"),
    ("run x -- no-such-program", "run: cannot start 'no-such-program': No such file or directory"),
    ("run x -- /etc/passwd", "run: cannot start '/etc/passwd': Permission denied"),
]
NOT_THERE = ["lease x", "subscriptions x", "pause x", "resume x", "delete x", "seek x --to now"]
NOT_THERE += ["dead x", "dead x --retry-all", "dead x --retry t/1"]
NOT_THERE += ["run x -- cat"]


def test_what_cannot_be_is_one_sentence_and_status_2_and_the_rest_is_status_1(call: Call) -> None:
    for command, sentence in REFUSED:
        status, out, err = call(command)
        assert (status, out, err.count("\n")) == (2, "", 1), command
        assert err.startswith(f"{PROGRAM} {sentence}")
    for command in NOT_THERE:
        status, out, err = call(command)
        assert (status, out) == (1, ""), command
        program = f"{PROGRAM} {command.split(maxsplit=1)[0]}"
        assert err == f"{program}: the answer is 404: there is no subscription 'x'\n"


def test_aggregator_that_is_away_is_tried_again_for_a_limited_time(
    capfd: pytest.CaptureFixture[str],
) -> None:
    call = caller("http://127.0.0.1:1", capfd)
    reason = "cannot connect to 127.0.0.1:1: Connection refused"
    for command in "pause x", "subscriptions", "run x -- cat":
        name, _, rest = command.partition(" ")
        status, out, err = call(f"{name} --give-up-after 0.3 {rest}")
        assert (status, out) == (1, "")
        first, last = err.splitlines()
        assert first.startswith(f"{PROGRAM} {name}: {reason}; trying again ")
        assert "gave up after" in last
        assert last.endswith(f"the last failure: {reason}")


def test_output_that_cannot_be_written_is_status_1(call: Call) -> None:
    call("create full t")
    # The program's sentence is that of `follow`: standard output is the same for all.
    with Path("/dev/full").open("w") as full, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", full)
        assert call("subscriptions full").status == 1
