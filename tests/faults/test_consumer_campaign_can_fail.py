"""A campaign of consumers that no double and no miss could fail would prove nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.backends import Database, PostgresServer
from support.consumer_campaign import run_consumer_campaign
from support.consumer_campaign_draw import SUBJECTS
from support.consumer_campaign_effects import Effect
from support.consumer_campaign_end import check_found
from support.consumer_campaign_judge import Found, judge
from support.consumer_campaign_slots import Wanted
from support.consumer_campaign_tally import ConsumerTally

SUBJECT = SUBJECTS["ordered-asyncpg"]
LOG = {"orders": {4: "d", 5: "e", 6: "f"}, "visits": {1: "a"}}
SOUND = [
    Effect("orders", 4, "d", 1),
    Effect("visits", 1, "a", 2),
    Effect("orders", 5, "e", 1),
    Effect("orders", 6, "f", 2),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["sqlite"])  # What is taken away is not the backend's.
async def test_effects_beside_or_behind_their_checkpoint_are_found_out(
    database: Database, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    tally = ConsumerTally(database.backend, "doctored")
    wanted = Wanted(("beside", "noted-first"), kills=3, aggregators=0)
    with postgres_server.database() as name:
        dsn = postgres_server.database_dsn(name)
        beside, noted_first = await run_consumer_campaign(database, dsn, tmp_path, tally, wanted)
    assert beside.doubles
    assert noted_first.missing
    for found in beside, noted_first:
        with pytest.raises(AssertionError, match="ordered-asyncpg: doubles"):
            check_found(SUBJECT, found)


def test_sound_effects_are_passed() -> None:
    check_found(SUBJECT, judge(SOUND, LOG))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda effects: effects.append(effects[0]), "doubles"),
        (lambda effects: effects.pop(2), "missing"),
        (lambda effects: effects.append(Effect("orders", 3, "c", 1)), "foreign"),
        (lambda effects: effects.append(effects[0]._replace(event_id="x")), "foreign"),
        (lambda effects: effects.reverse(), "misordered"),
    ],
    ids=["twice", "never", "before-the-start", "of-another-event", "out-of-order"],
)
def test_unsound_effects_are_found_out(spoil: Callable[[list[Effect]], object], what: str) -> None:
    effects = [*SOUND]
    spoil(effects)
    found = judge(effects, LOG)
    assert [name for name, some in found._asdict().items() if some] == ["effects", what]
    with pytest.raises(AssertionError, match=f"{what} [12]"):
        check_found(SUBJECT, found)


def test_doubles_are_allowed_where_events_are_only_acknowledged() -> None:
    doubles = judge([*SOUND, SOUND[0]], LOG)
    check_found(SUBJECTS["acks-asyncpg"], doubles)
    missing: Found = judge(SOUND[1:], LOG)
    with pytest.raises(AssertionError, match="missing 1"):
        check_found(SUBJECTS["acks-asyncpg"], missing)
