"""Hypothesis: a machine of those who write logs, those who rotate them, and the shipper."""

import shutil

import psutil
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from support.ship_aggregator import StoredLines
from support.ship_judge import Judge
from support.ship_machine_state import APP, PATTERNS, note
from support.ship_rotation import Rotation, few_lines, is_down, is_up
from support.ship_shipper import HEAD_BYTES, HOLE_BYTES, TAIL_BYTES
from support.ship_world import QUIET_S, World

_SETTLED_S = 40.0


class ShipMachine(Rotation):
    """Files are written, rotated and shipped, and the judge looks at what has become of them."""

    @initialize(
        kind=st.sampled_from(sorted(PATTERNS)),
        is_exact=st.booleans(),
        appends=st.sampled_from([True, True, False]),
        keeps=st.sampled_from([True, True, True, False]),
        kinds=few_lines,
    )
    def begin(
        self, kind: str, is_exact: bool, appends: bool, keeps: bool, kinds: list[str]
    ) -> None:
        self.world = World(self.base, PATTERNS[kind])
        self.world.now_s = self.clock.now_s
        self.stored = StoredLines(HOLE_BYTES)
        self.judge = Judge(self.world, self.stored, HEAD_BYTES, TAIL_BYTES, HOLE_BYTES)
        logs = self.world.logs
        self.names = [logs / pattern for pattern in PATTERNS[kind]]
        self.is_exact, self.appends, self.keeps = is_exact, appends, keeps
        self.writer = self.world.create(logs / APP)
        self._write(kinds, alike=True)
        self._start(self.checkpoint, follows=True)

    # The shipper.

    @is_up
    @rule(steps=st.integers(1, 12))
    def read_on(self, steps: int) -> None:
        self._wake()
        self._up.read_on(steps)

    @is_up
    @rule(steps=st.integers(1, 8))
    def deliver_on(self, steps: int) -> None:
        self._up.deliver_on(steps)

    @is_up
    @rule()
    def work(self) -> None:
        self._wake()
        self._work()

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self._pass(seconds)

    @is_up
    @rule()
    def wait(self) -> None:
        """Long enough for all that is waited for."""
        self._settle(12.0)

    @is_up
    @rule()
    def stop(self) -> None:
        self._up.stop()
        self._is_down_now()

    @is_up
    @rule()
    def kill(self) -> None:
        self._up.kill()
        self._is_down_now()

    @is_down
    @rule(lost=st.sampled_from([False, False, False, False, True]))
    def start(self, lost: bool) -> None:
        if lost and not self.keeps:
            note("the checkpoint is lost")
            for path in self.base.glob("checkpoint*"):
                path.unlink()
            self.judge.lives += 1
            for content in self.world.contents:
                content.renamed = False
            self._look_at_files()
        self._start(self.checkpoint, follows=True)

    @is_down
    @rule(with_checkpoint=st.booleans())
    def run_once(self, with_checkpoint: bool) -> None:
        with_checkpoint = with_checkpoint or self.keeps
        # It can't wait until it shows what is a copy.
        self.copies = [(source, copied, -QUIET_S) for source, copied, _ in self.copies]
        if not with_checkpoint:
            self.judge.lives += 1
        self._start(self.checkpoint if with_checkpoint else None, follows=False)
        self._up.work()
        self._up.stop()
        for content in self.world.contents:
            # It does not wait until what was renamed is quiet.
            if content.hidden_s is not None and content.seen and content.cutoff is None:
                content.cutoff = len(content.data)
        self._is_down_now()
        if not with_checkpoint:
            self.judge.lives += 1

    @is_down
    @rule(host=st.sampled_from(["two", "three"]))
    def clone(self, host: str) -> None:
        """The files are copied to another machine, with the checkpoint."""
        if self.keeps:
            return
        self.host = host
        self.judge.clones += 1

    # The end.

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self._end()
        finally:
            if self.shipper is not None:
                self.shipper.kill()
            if hasattr(self, "world"):
                self.world.close()
            shutil.rmtree(self.base, ignore_errors=True)
        assert psutil.Process().num_fds() == self._descriptors

    def _end(self) -> None:
        note("the end")
        if self.shipper is None:
            self._start(self.checkpoint, follows=True)
        self._settle(_SETTLED_S)
        self.judge.check()
        self._up.stop()
        self.shipper = None
