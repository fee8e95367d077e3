"""The consumers of a campaign as processes, seen from the test."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from support.consumer_campaign_plan import Plan

LIMIT_S = 60.0
_TESTS = Path(__file__).parents[1]
_PROGRAM = (sys.executable, "-m", "support.consumer_campaign_nursery")


class Consumer:
    """A consumer process.

    Args:
        plan: its plan.
        log: the file with what it wrote.
    """

    def __init__(self, plan: Plan, log: Path) -> None:
        loop = asyncio.get_running_loop()
        self.plan = plan
        self.pid: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        """Its status, negative after a signal."""
        self._log = log

    def written(self) -> str:
        """What it wrote by now."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def end(self, status: int = 0) -> None:
        """Wait for its end, which must be this one; it must have told of no fault."""
        async with asyncio.timeout(LIMIT_S):
            found = await asyncio.shield(self.ended)
        written = self.written()
        assert found == status, f"{self.plan} has ended with {found}: {written}"
        assert "Traceback" not in written, f"{self.plan}: {written}"
        self._log.unlink(missing_ok=True)


class Nursery:
    """Makes consumers, each in a process of its own.

    Args:
        process: of `support.consumer_campaign_nursery`.
        directory: for what consumers write.
    """

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._consumers: dict[int, Consumer] = {}
        self._is_over = False

    async def make(self, plan: Plan) -> Consumer:
        """Make a consumer; it is there, and has begun."""
        assert not self._is_over, "the nursery has ended"
        log = self._directory / f"consumer-{plan.number}.log"
        consumer = self._consumers[plan.number] = Consumer(plan, log)
        self._order({"plan": msgspec.to_builtins(plan)})
        async with asyncio.timeout(LIMIT_S):
            await asyncio.shield(consumer.pid)
        return consumer

    def kill(self, consumer: Consumer) -> None:
        """End one as `kill -9` does; nothing happens if it has ended."""
        self._order({"kill": consumer.plan.number})

    def _order(self, order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")

    async def listen(self) -> None:
        """Take in what is told of consumers, until all are gone."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = msgspec.json.decode(line)
            consumer = self._consumers[told["number"]]
            if told["pid"] is not None:
                consumer.pid.set_result(told["pid"])
            else:
                consumer.ended.set_result(told["status"])
        self._is_over = True
        for consumer in self._consumers.values():
            for future in (consumer.pid, consumer.ended):
                if not future.done():
                    future.cancel("the nursery has ended")


@asynccontextmanager
async def open_nursery(directory: Path) -> AsyncIterator[Nursery]:
    """A nursery, for as long as the context lasts; what is left of its consumers is killed."""
    process = await asyncio.create_subprocess_exec(
        *_PROGRAM, str(directory),
        cwd=directory, env=os.environ | {"PYTHONPATH": str(_TESTS)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    nursery = Nursery(process, directory)
    listening = asyncio.create_task(nursery.listen())
    try:
        yield nursery
    finally:
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(LIMIT_S):
            await listening
            status = await process.wait()
        assert status == 0, f"the nursery has ended with {status}"


def stop(consumer: Consumer) -> None:
    """Send SIGTERM to a consumer that is there."""
    os.kill(consumer.pid.result(), signal.SIGTERM)


async def suspend(consumer: Consumer, seconds: float) -> None:
    """Have a consumer that does not end by itself not run for some time."""
    os.kill(consumer.pid.result(), signal.SIGSTOP)
    await asyncio.sleep(seconds)
    os.kill(consumer.pid.result(), signal.SIGCONT)
