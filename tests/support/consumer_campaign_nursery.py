"""A program that makes consumers by forking, so that each is a process, and is there at once.

`python -m support.consumer_campaign_nursery DIRECTORY`

Each line of its standard input is an order, each line of its standard output tells of a consumer.
It ends with its standard input, and kills what is left.
"""

import gc
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path

import msgspec

from support.consumer_campaign_consumer import main
from support.consumer_campaign_plan import Plan


class Order(msgspec.Struct):
    """An order: make the consumer of a plan, or kill the one of a number."""

    plan: Plan | None = None
    kill: int | None = None


class Told(msgspec.Struct):
    """What has become of a consumer: it has a process; or that has ended, as Popen has it."""

    number: int
    pid: int | None = None
    status: int | None = None


class _Nursery:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers: dict[int, int] = {}
        """By the process."""
        self._decode = msgspec.json.Decoder(Order).decode

    def obey(self, line: bytes) -> None:
        order = self._decode(line)
        if order.plan is not None:
            self._make(order.plan)
        for pid, number in self._numbers.items():
            if number == order.kill:
                # It may have ended, but nobody else has its number before it is waited for.
                os.kill(pid, signal.SIGKILL)

    def bury(self) -> None:
        """Tell of those that have ended."""
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            number = self._numbers.pop(pid)
            _tell(Told(number, status=os.waitstatus_to_exitcode(status)))

    def kill_all(self) -> None:
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)

    def _make(self, plan: Plan) -> None:
        pid = os.fork()
        if pid:
            self._numbers[pid] = plan.number
            _tell(Told(plan.number, pid=pid))
            return
        status = 1
        try:
            self._become(plan.number)
            status = main(plan)
        except BaseException:  # noqa: BLE001 - it is told by the status
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _become(self, number: int) -> None:
        """Leave everything of the nursery behind."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(self._directory / f"consumer-{number}.log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _tell(told: Told) -> None:
    os.write(1, msgspec.json.encode(told) + b"\n")


def _serve(nursery: _Nursery) -> None:
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    buffer = b""
    while True:
        ready = [key.fd for key, _ in selector.select()]
        if woken in ready:
            os.read(woken, 4096)
            nursery.bury()
        if 0 in ready:
            data = os.read(0, 65_536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                nursery.obey(line)


if __name__ == "__main__":
    # What is there by now is shared by all, as long as nobody writes to it.
    gc.freeze()
    nursery = _Nursery(Path(sys.argv[1]))
    try:
        _serve(nursery)
    finally:
        nursery.kill_all()
