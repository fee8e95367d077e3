"""The parts of a double, put together, and the lock that whoever uses them holds."""

import threading

from subscriber.testing.database import SubscriptionDatabase
from subscriber.testing.faults import Faults
from subscriber.testing.leases import Leases
from subscriber.testing.log import EventLog
from subscriber.testing.subscriptions import Subscriptions
from subscriber.testing.wakeups import Wakeups


class Parts:
    """The parts of a double that its consumers and its test share, in whichever threads they are.

    Args:
        now_us: what its clock shows at first, in microseconds since 1970.
    """

    def __init__(self, now_us: int) -> None:
        self.log = EventLog()
        self.database = SubscriptionDatabase(self.log, now_us)
        self.subscriptions = Subscriptions(self.log, self.database)
        self.leases = Leases(self.log, self.database, self.subscriptions)
        self.wakeups = Wakeups()
        self.faults = Faults()
        self.lock = threading.RLock()
        """Held around whatever is done with the others."""
