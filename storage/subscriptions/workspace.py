"""The workspace of a transaction of commands: what it has loaded, and what it is to write.

A backend locks the subscriptions of the commands, loads what `needs` names, has
`storage.subscriptions.decisions` decide each command, and writes `Decisions.changes`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET

from storage.subscriptions.commands import (
    Change,
    Command,
    Create,
    DropDead,
    Lease,
    Range,
    RetryDead,
    Seek,
    Settle,
)
from storage.subscriptions.model import SettleRecord, Subscription, TopicState


@dataclass(slots=True)
class Needs:
    """What a transaction has to load, besides its time.

    Attributes:
        names: the subscriptions, sorted: the order in which to lock them.
        topics: by subscription, the topics whose states, heads and oldest events are needed.
        every_state: the subscriptions of which all states are needed.
        others: the subscriptions of which the numbers of leased and of unsettled events in all
            other topics than those of `topics` are needed.
        records: name, id of a lease and digest of the settles that may have been done already.
        dead: the ranges whose dead letters are needed (None: all of them), and how many at most, by
            topic and offset; only with one command.
    """

    names: list[str] = field(default_factory=list)
    topics: dict[str, set[str]] = field(default_factory=dict)
    every_state: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    records: set[tuple[str, str, bytes]] = field(default_factory=set)
    dead: tuple[Sequence[Range] | None, int] | None = None


@dataclass(slots=True, kw_only=True)
class Loaded:
    """What was loaded, under lock or to be compared when it is written.

    Attributes:
        now_us: the time of the database.
        subscriptions: those that exist, by name.
        states: by id of a subscription and topic; none where nothing is kept.
        heads: by topic; none where no event is stored.
        oldest_us: by id and topic, when the event behind the place was stored, where there is one.
            Of a topic without a state, that of its first event.
        others: by id, see `Needs.others`.
        records: by id of the lease and digest, those that were done.
        ended: ids of the leases, of those in `Needs.records`, that a settle has ended.
        dead: topics and offsets of the dead letters, see `Needs.dead`.
        dead_total: number of those that were asked for, whatever the limit.
    """

    now_us: int
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    states: dict[tuple[str, str], TopicState] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    oldest_us: dict[tuple[str, str], int] = field(default_factory=dict)
    others: dict[str, tuple[int, int]] = field(default_factory=dict)
    records: dict[tuple[str, bytes], SettleRecord] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    dead: Sequence[tuple[str, int]] = ()
    dead_total: int = 0

    def leave_out(self, id_: str) -> None:
        """Make `others` of all topics of a subscription those of all but the loaded ones."""
        leased, unsettled = self.others[id_]
        states = [state for key, state in self.states.items() if key[0] == id_]
        self.others[id_] = (
            max(0, leased - sum(state.leased(self.now_us) for state in states)),
            unsettled - sum(state.unsettled for state in states),
        )


@dataclass(slots=True)
class Failure:
    """What is to be kept of an event that failed, beside what is kept already.

    Attributes:
        deliveries: how often it was handed out.
        first_error: the first error now; it counts if none is kept. None: none was given.
        last_error: the last one. None: none was given, and what is kept stays.
        dead: whether it is dead now.
    """

    deliveries: int
    first_error: str | None
    last_error: str | None
    dead: bool


@dataclass(slots=True)
class Changes:
    """What a transaction writes.

    Attributes:
        subscriptions: those that are new or changed, by name.
        deleted: ids of those that are gone, with all that is kept of them.
        states: by id and topic; None: gone.
        forgotten: id, topic, first and last offset: nothing is kept of the failures of these. It is
            done ahead of `failures`.
        failures: by id, topic and offset. What is new of them is dated with the loaded time.
        records: ids of subscriptions, and settles of theirs that were done.
    """

    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    states: dict[tuple[str, str], TopicState | None] = field(default_factory=dict)
    forgotten: list[tuple[str, str, int, int]] = field(default_factory=list)
    failures: dict[tuple[str, str, int], Failure] = field(default_factory=dict)
    records: list[tuple[str, SettleRecord]] = field(default_factory=list)

    def __bool__(self) -> bool:
        kinds = (self.subscriptions, self.deleted, self.states, self.forgotten, self.failures)
        return any(kinds) or bool(self.records)


def needs(commands: Iterable[Command]) -> Needs:
    """Name what a transaction of commands has to load.

    Args:
        commands: leases and settles, any number; or one command of another kind.
    """
    wanted = Needs()
    names: set[str] = set()
    for command in commands:
        name = command.subscription.name if isinstance(command, Create) else command.name
        names.add(name)
        topics = wanted.topics.setdefault(name, set())
        if isinstance(command, Lease):
            topics.update(command.topics)
            if not command.all_topics:
                wanted.others.add(name)
            if command.settle is not None:
                _need_settle(wanted, command.settle)
        elif isinstance(command, Settle):
            _need_settle(wanted, command)
        else:
            _need_administration(wanted, command, topics)
    wanted.names = sorted(names)
    return wanted


def _need_settle(wanted: Needs, settle: Settle) -> None:
    topics = wanted.topics.setdefault(settle.name, set())
    topics.update(topic for topic, _, _ in settle.token.extents)
    if settle.digest:
        wanted.records.add((settle.name, settle.token.lease, settle.digest))


def _need_administration(wanted: Needs, command: Command, topics: set[str]) -> None:
    match command:
        case Seek():
            topics.update(command.starts)
        case Change(topics=selected, on_dead=on_dead):
            # Nothing else has to do with what is kept of topics, and there may be very many.
            if selected is not UNSET or on_dead is not UNSET:
                wanted.every_state.add(command.name)
        case RetryDead(name, None, limit):
            wanted.dead = None, limit
            wanted.every_state.add(name)
        case RetryDead(_, offsets, limit) if offsets is not None:
            wanted.dead = offsets, limit
            topics.update(topic for topic, _, _ in offsets)
        case DropDead(_, topic, offset):
            wanted.dead = [(topic, offset, offset)], 1
            topics.add(topic)
        case _:
            # It needs the subscription alone.
            return
