"""The number of reads at once."""

from aggregator.ingest.admission import QueueFull


class ReadLimit:
    """A bound on the reads that wait for the store or are under way.

    What a read needs is bounded, but a client that sends one and hangs up leaves it behind, and
    could go on so.

    Args:
        max_reads: reads at once.
    """

    def __init__(self, max_reads: int) -> None:
        self.max_reads = max_reads
        self.under_way = 0
        self.refused = 0
        """Number of reads refused."""

    def __enter__(self) -> None:
        if self.under_way >= self.max_reads:
            self.refused += 1
            raise QueueFull(f"{self.under_way} reads are under way, as many as may be")
        self.under_way += 1

    def __exit__(self, *_: object) -> None:
        self.under_way -= 1
