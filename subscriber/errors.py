"""The errors of following and of consuming; the message of each is one sentence.

The arguments of each exception are those of its constructor, so that it can be copied and pickled.
"""

from subscriber.events import Gap


class FollowError(Exception):
    """Following ended; each reason is a subclass."""


class FollowRefused(FollowError):
    """The request was refused, or answered by something else than an aggregator.

    Another attempt would not change it.

    Args:
        status: the status of the response, None without an HTTP response.
        detail: the reason, one sentence.
    """

    def __init__(self, status: int | None, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        """Return the sentence."""
        if self.status is None:
            return self.detail
        return f"the answer is {int(self.status)}: {self.detail}"


class FollowGaveUp(FollowError):
    """No stream could be had for the time that the policy allows.

    Args:
        attempts: number of attempts in a row that failed.
        give_up_after_s: the time that the policy allows, in seconds.
        last_failure: why the last attempt failed, one sentence.
    """

    def __init__(self, attempts: int, give_up_after_s: float, last_failure: str) -> None:
        super().__init__(attempts, give_up_after_s, last_failure)
        self.attempts = attempts
        self.give_up_after_s = give_up_after_s
        self.last_failure = last_failure

    def __str__(self) -> str:
        """Return the sentence."""
        tries = "1 try" if self.attempts == 1 else f"{self.attempts:,} tries"
        return (
            f"gave up after {tries} ({self.give_up_after_s:g} s without a stream), "
            f"the last failure: {self.last_failure}"
        )


class HoleError(FollowError):
    """The offsets of a topic are not consecutive: an event is missing, or came a second time.

    No aggregator does this. It is raised instead of the event, and the position stays behind the
    last event that was handed out.

    Args:
        topic: the topic.
        expected: the offset that was to come; the least one where a filter leaves events out.
        got: the offset that the stream goes on with. An event below `expected` came before.
    """

    def __init__(self, topic: str, expected: int, got: int) -> None:
        super().__init__(topic, expected, got)
        self.topic = topic
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        """Return the sentence."""
        what = "events are missing" if self.got > self.expected else "an event came before"
        return f"{what}: offset {self.expected} of {self.topic!r} was to come, not {self.got}"


class GapError(HoleError):
    """The aggregator tells of a gap: what was asked for is not in the log, or not any more.

    Args:
        gap: what is missing, and why.
    """

    def __init__(self, gap: Gap) -> None:
        got = gap.goes_on_behind + 1
        expected = gap.first if gap.reason == "expired" else gap.last + 1
        HoleError.__init__(self, gap.topic, expected, got)
        self.args = (gap,)
        self.gap = gap

    def __str__(self) -> str:
        """Return the sentence."""
        return str(self.gap)


class SubscriptionError(Exception):
    """A subscription can't be consumed, or not in this way; each reason is a subclass."""


class SubscriptionRefused(SubscriptionError):
    """A request about a subscription was refused, or answered by something else than an aggregator.

    Another attempt would not change it.

    Args:
        status: the status of the response, None without an HTTP response.
        detail: the reason, one sentence.
    """

    def __init__(self, status: int | None, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def __str__(self) -> str:
        """Return the sentence."""
        if self.status is None:
            return self.detail
        return f"the answer is {int(self.status)}: {self.detail}"


class SubscriptionGaveUp(SubscriptionError):
    """The aggregator could not be reached for the time that the policy allows.

    Args:
        attempts: number of attempts in a row that failed.
        give_up_after_s: the time that the policy allows, in seconds.
        last_failure: why the last attempt failed, one sentence.
    """

    def __init__(self, attempts: int, give_up_after_s: float, last_failure: str) -> None:
        super().__init__(attempts, give_up_after_s, last_failure)
        self.attempts = attempts
        self.give_up_after_s = give_up_after_s
        self.last_failure = last_failure

    def __str__(self) -> str:
        """Return the sentence."""
        tries = "1 try" if self.attempts == 1 else f"{self.attempts:,} tries"
        return (
            f"gave up after {tries} ({self.give_up_after_s:g} s without an answer), "
            f"the last failure: {self.last_failure}"
        )


class LeaseLost(SubscriptionError):
    """A lease has run out, so its events may be somebody else's by now and can't be settled.

    They come again, here or elsewhere. Only of a settle whose answer was lost it is unknown whether
    it was done.
    """


class AlreadySettled(SubscriptionError, RuntimeError):
    """A delivery was to be settled a second time."""


class TransactionOpen(SubscriptionError, RuntimeError):
    """The transaction that a checkpoint has joined is still open when its events are to be settled.

    Its caller has to commit before the handler returns, or the loop goes on.
    """


class HandlerFailed(Exception):
    """The handling of a delivery failed, for a reason that its text says.

    A handler may raise it in place of an exception of its own: the text alone is the error of the
    retry, without the name of a class in front of it.
    """


class HandlerUnavailable(Exception):
    """A handler can do nothing now, whatever the event: what it needs is away.

    A handler may raise it: what is being handled is released, so that no delivery counts, and
    `run`, `run_batches` or the loop ends with this exception.
    """
