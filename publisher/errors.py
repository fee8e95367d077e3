"""Why an event was not acknowledged. Every message is one sentence.

The arguments of each exception are those of its constructor, so that it can be copied and pickled.
"""


class PublishError(Exception):
    """An event has no verdict. Each reason is a class of its own."""


class EventInvalid(PublishError, ValueError):
    """The event has no JSON form, so it was not sent."""


class EventRejected(PublishError):
    """The aggregator refuses this event for what it is; its neighbours are not touched.

    It is not stored (unless the aggregator's limits were changed since a try whose answer was
    lost), and sending it again changes nothing.
    """


class PublishRefused(PublishError):
    """The request was refused, or answered by something else than an aggregator.

    status: that of the answer, None when there was none that is HTTP. detail: the reason, one
    sentence. may_be_stored: False if neither this try nor one before it can have stored anything.
    request_id: the `X-Request-ID` of the request, by which the aggregator's log has it; None if it
    was not sent.
    """

    def __init__(
        self,
        status: int | None,
        detail: str,
        may_be_stored: bool = True,  # noqa: FBT001, FBT002 - a copy is made of positional arguments
        request_id: str | None = None,
    ) -> None:
        super().__init__(status, detail, may_be_stored, request_id)
        self.status = status
        self.detail = detail
        self.may_be_stored = may_be_stored
        self.request_id = request_id

    def __str__(self) -> str:
        """Give the sentence, with the request id if the request may have arrived."""
        arrived = self.status is not None or self.may_be_stored
        told = self.detail
        if self.status is not None:
            told = f"the answer is {int(self.status)}: {told}"
        return told + _named(self.request_id if arrived else None)


class TlsError(PublishRefused):
    """No connection that can be trusted: the certificate does not verify, or there is no TLS.

    It is told at once, since another try would not change it. Nothing of that try was sent. The
    status is None.
    """


class PublishGaveUp(PublishError):
    """The deadline passed before an answer came.

    attempts: how often it was sent, 0 if the deadline passed while it waited for its turn.
    deadline_s: of the policy, in seconds.
    last_failure: why the last try failed, one sentence.
    may_be_stored: False if no try can have reached the aggregator's store. Sending it again, with
    the same event_id, is safe either way.
    request_id: the `X-Request-ID` that all tries had, by which the aggregator's log has them; None
    without a try.
    """

    def __init__(
        self,
        attempts: int,
        deadline_s: float,
        last_failure: str,
        may_be_stored: bool,  # noqa: FBT001 - a copy is made of positional arguments
        request_id: str | None = None,
    ) -> None:
        super().__init__(attempts, deadline_s, last_failure, may_be_stored, request_id)
        self.attempts = attempts
        self.deadline_s = deadline_s
        self.last_failure = last_failure
        self.may_be_stored = may_be_stored
        self.request_id = request_id

    def __str__(self) -> str:
        """Give the sentence, with the request id if a try may have arrived."""
        tries = "1 try" if self.attempts == 1 else f"{self.attempts:,} tries"
        return (
            f"gave up after {tries} (deadline: {self.deadline_s:g} s), the last failure: "
            f"{self.last_failure}{_named(self.request_id if self.may_be_stored else None)}"
        )


class NotSent(PublishError):
    """The event was not sent, and is not stored: the publisher was closed or had stopped."""


class PublishAbandoned(PublishError):
    """Nobody waits for the answer any more; the event may be stored or not.

    why: one clause; that the publisher was closed without waiting, unless given.
    """

    def __init__(self, why: str = "the publisher was closed before the answer came") -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        """Give the sentence."""
        return f"{self.why}; the event may be stored or not"


def _named(request_id: str | None) -> str:
    return f" (request id {request_id})" if request_id else ""
