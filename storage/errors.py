"""What a store raises. Driver exceptions never leave `storage`; they become one of these.

None of them is ever turned into a verdict: an event whose fate is not known from a
committed transaction has no verdict at all.
"""


class StorageError(Exception):
    """The store failed; its message is one sentence that names the cause."""


class StorageUnavailable(StorageError):
    """Nothing was stored and the cause is not the batch: the same call may succeed later.

    Raised when the database is out of reach, busy, full, read-only, or ended the transaction
    for reasons of its own (deadlock, serialization, operator). The transaction is rolled back.
    """


class OutcomeUnknown(StorageError):
    """What commits failed midway, or was not answered: all of the batch is stored, or nothing.

    Never retried inside the aggregator, which would count the batch twice; a publisher can
    send it again safely, because the dedup key tells.
    """


class BatchRefused(StorageError):
    """The database refused the batch and rolled it back; one of its events may be the cause."""


class StorageMisconfigured(StorageError):
    """The database can't be used as it is, and waiting will not help.

    Raised on opening: wrong credentials, no such database, not a database of this program,
    a schema newer than this version knows, an encoding other than UTF-8.
    """


class PayloadOverLimit(Exception):
    """A read met a payload larger than it was allowed to fetch; nothing failed.

    Args:
        payload_bytes: the size of that payload; a read that allows it succeeds.
    """

    def __init__(self, payload_bytes: int) -> None:
        super().__init__(f"a payload of {payload_bytes} bytes is over the limit of this read")
        self.payload_bytes = payload_bytes
