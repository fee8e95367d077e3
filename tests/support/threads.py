"""Work in several threads at once."""

import sys
import threading
from collections.abc import Callable

THREADS = 4


def in_threads(work: Callable[[], None]) -> None:
    """Run the same work in several threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    together = threading.Barrier(THREADS)

    def run() -> None:
        together.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
