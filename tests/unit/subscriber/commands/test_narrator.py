"""What the command says: the beginning and the end of each wait that is worth a line."""

import pytest

from subscriber.commands.following.narrator import Narrator
from subscriber.events import Gap
from subscriber.policy import Wait


def test_each_wait_is_said_once_and_the_end_of_a_stream_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    narrator = Narrator("follow")

    def said() -> list[str]:
        return capsys.readouterr().err.splitlines()

    for attempt in 1, 2, 3:
        narrator.wait(Wait(attempt, "refused", 1.0))
    assert said() == ["follow: refused; trying again until there is a stream"]
    narrator.go_on()
    assert said() == ["follow: going on"]
    # As every ten minutes, with the next stream at the first attempt.
    narrator.wait(Wait(1, "the stream has ended", 1.0))
    narrator.go_on()
    assert said() == []
    narrator.wait(Wait(1, "the stream was cut off", 1.0))
    assert said() == []
    narrator.wait(Wait(2, "refused", 1.0))
    narrator.wait(Wait(3, "reset", 1.0))
    assert said() == ["follow: refused; trying again until there is a stream"]


def test_gaps_are_said_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator("follow")
    narrator.pass_gap(Gap("orders", 1, 20, "expired", 30))
    assert narrator.gaps == 1
    assert capsys.readouterr().err == (
        "follow: the offsets 1 to 20 of 'orders' are missing: the log no longer holds them; "
        "going on with 21\n"
    )
