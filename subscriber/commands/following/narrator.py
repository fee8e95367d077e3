"""What the command says on standard error while it follows."""

from publisher.output import tell
from subscriber.events import Gap
from subscriber.policy import Wait


class Narrator:
    """Says when it begins to wait for an aggregator and when it goes on, one line each.

    A stream that ends, as each does after some minutes, is not worth a line if the next one begins
    at the first attempt.

    Args:
        program: the name in front of each line.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self._has_begun = False
        self._waits = False
        self.gaps = 0
        """The number of gaps."""

    def say(self, sentence: str) -> None:
        """Say a sentence."""
        tell(f"{self._program}: {sentence}\n")

    def wait(self, wait: Wait) -> None:
        """Take a wait; see `subscriber.follow`."""
        if not self._waits and (wait.attempt > 1 or not self._has_begun):
            self._waits = True
            self.say(f"{wait.reason}; trying again until there is a stream")

    def go_on(self) -> None:
        """Take the beginning of a stream."""
        self._has_begun = True
        if self._waits:
            self._waits = False
            self.say("going on")

    def pass_gap(self, gap: Gap) -> None:
        """Take a gap."""
        self.gaps += 1
        self.say(f"{gap}; going on with {gap.goes_on_behind + 1}")
