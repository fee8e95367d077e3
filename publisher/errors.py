"""The errors of publishing; the message of each is one sentence.

The arguments of each exception are those of its constructor, so that it can be copied and pickled.
"""


class PublishError(Exception):
    """An event has no verdict; each reason is a subclass."""


class EventInvalid(PublishError, ValueError):
    """The event has no JSON form and was not sent."""


class EventRejected(PublishError):
    """The aggregator rejects this event by its rules; the others of its request are unaffected.

    The event is not stored, unless the aggregator's limits were changed since an attempt whose
    response was lost. Sending it again changes nothing.
    """


class PublishRefused(PublishError):
    """The request was refused, or answered by something else than an aggregator.

    Args:
        status: the status of the response, None without an HTTP response.
        detail: the reason, one sentence.
        may_be_stored: False if no attempt can have stored anything.
        request_id: the `X-Request-ID` of the request, which is also in the aggregator's log; None
            if it was not sent.
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
        """Return the sentence, with the request id if the request may have arrived."""
        may_have_arrived = self.status is not None or self.may_be_stored
        sentence = self.detail
        if self.status is not None:
            sentence = f"the answer is {int(self.status)}: {sentence}"
        return sentence + _named(self.request_id if may_have_arrived else None)


class TlsError(PublishRefused):
    """The connection can't be trusted: the certificate does not verify, or there is no TLS.

    There is no retry, since another attempt would not change it. Nothing of that attempt was sent.
    The status is None.
    """


class PublishGaveUp(PublishError):
    """The deadline passed before a response came.

    Sending the event again, with the same event_id, is safe.

    Args:
        attempts: number of attempts, 0 if the deadline passed while the event waited for its turn.
        deadline_s: the deadline of the policy, in seconds.
        last_failure: why the last attempt failed, one sentence.
        may_be_stored: False if no attempt can have reached the aggregator's store.
        request_id: the `X-Request-ID` of all attempts, which is also in the aggregator's log; None
            without an attempt.
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
        """Return the sentence, with the request id if an attempt may have arrived."""
        tries = "1 try" if self.attempts == 1 else f"{self.attempts:,} tries"
        return (
            f"gave up after {tries} (deadline: {self.deadline_s:g} s), the last failure: "
            f"{self.last_failure}{_named(self.request_id if self.may_be_stored else None)}"
        )


class NotSent(PublishError):
    """The event was not sent and is not stored: the publisher was closed or had stopped."""


class PublishAbandoned(PublishError):
    """The publisher stopped waiting for the response; the event may be stored or not.

    Args:
        why: the reason, one clause.
    """

    def __init__(self, why: str = "the publisher was closed before the answer came") -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        """Return the sentence."""
        return f"{self.why}; the event may be stored or not"


def _named(request_id: str | None) -> str:
    return f" (request id {request_id})" if request_id else ""
