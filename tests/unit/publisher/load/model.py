"""A plan, and a model of an aggregator whose responses to it are correct."""

from collections.abc import Callable, Sequence

import msgspec

from publisher.load.content import Content
from publisher.load.findings import Findings
from publisher.load.key_ids import ids_for
from publisher.load.log_check import TopicCheck
from publisher.load.plan import Plan, Shape
from publisher.load.read_back import Counts, Stats, StoredEvent
from publisher.load.stats_check import StatsCheck, check_increase
from publisher.load.verdict_check import UnansweredAttempts, VerdictCheck
from publisher.response import Outcome, Verdict

TOPICS = ("auth", "orders", "payment")
MEANWHILE = "2026-02-01T00:00:00.000000Z"


class Scene:
    """A run against a model of the aggregator, whose responses a test may falsify.

    `log` and `counts` are what the model stored; each topic began with `heads` events.
    """

    def __init__(self, shape: Shape, heads: Sequence[int]) -> None:
        self.plan = Plan(shape)
        self.topics = TOPICS[: shape.topics]
        self.content = Content(self.plan, ids_for("numbered", "run"), self.topics, 150)
        self.findings = Findings()
        self.heads = list(heads)
        self.verdicts = VerdictCheck(self.plan, self.content, self.heads, self.findings)
        self.log: dict[str, list[StoredEvent]] = {topic: [] for topic in self.topics}
        self.counts = dict(zip(self.topics, (Counts(n, n, 0, 0, n) for n in heads), strict=False))
        self._offsets: dict[tuple[str, str], int] = {}
        self.before = self.stats()
        self.stats_check = StatsCheck(self.before, self.findings)

    def publish(self, request: int) -> list[Verdict]:
        """Store and count a request; returns the verdicts of a correct aggregator."""
        outcomes: list[Verdict] = []
        for position in self.plan.positions(request):
            sent = msgspec.json.decode(self.content.event(position).line, type=_Sent)
            topic, event_id = sent.topic, sent.event_id
            offset = self._offsets.get((topic, event_id))
            if offset is None:
                offset = self.heads[TOPICS.index(topic)] + len(self.log[topic]) + 1
                self._offsets[topic, event_id] = offset
                self.log[topic].append(
                    StoredEvent(
                        topic,
                        event_id,
                        sent.timestamp,
                        sent.source,
                        sent.payload,
                        offset,
                        MEANWHILE,
                    )
                )
                outcomes.append(Verdict(topic, event_id, "stored", offset))
                self._count(topic, received=1, unique_processed=1, head_offset=1)
                continue
            kept = self.log[topic][offset - self.heads[TOPICS.index(topic)] - 1]
            same = (kept.source, bytes(kept.payload)) == (sent.source, bytes(sent.payload))
            outcomes.append(Verdict(topic, event_id, "duplicate" if same else "conflict", offset))
            self._count(topic, received=1, duplicate_dropped=1, conflicts=int(not same))
        return outcomes

    def _count(self, topic: str, **more: int) -> None:
        counts = self.counts[topic]
        self.counts[topic] = msgspec.structs.replace(
            counts, **{name: getattr(counts, name) + amount for name, amount in more.items()}
        )

    def stats(self) -> Stats:
        """Return the counts as /stats has them."""
        every = self.counts.values()
        return Stats(
            received=sum(counts.received for counts in every),
            unique_processed=sum(counts.unique_processed for counts in every),
            duplicate_dropped=sum(counts.duplicate_dropped for counts in every),
            conflicts=sum(counts.conflicts for counts in every),
            topics=dict(self.counts),
            backend="model",
        )

    def listed(self, topics: int) -> Stats:
        """Return the counts of a response that lists only some of the topics."""
        names = sorted(self.counts)[:topics]
        return msgspec.structs.replace(
            self.stats(),
            topics={name: self.counts[name] for name in names},
            in_pages=True,
            listed_to=names[-1],
        )

    def respond(
        self, request: int, outcomes: Sequence[Outcome] = (), tries: int = 0, late: int = 0
    ) -> None:
        """Have the response to a request checked, by default that of a correct aggregator."""
        answer = outcomes or self.publish(request)
        self.verdicts.check_response(request, answer, UnansweredAttempts(tries, late))

    def publish_all(self) -> None:
        """Publish every request, one after another."""
        for request in range(self.plan.shape.requests):
            self.respond(request)

    def check(self) -> list[str]:
        """Make every check that follows a run; returns the differences as sentences."""
        after = self.stats()
        self.stats_check.check(after, self.verdicts.acknowledged)
        check_increase(self.plan, self.topics, self.before, after, self.verdicts, self.findings)
        key_at = self.verdicts.finish()
        for topic, head, keys in zip(self.topics, self.heads, key_at, strict=False):
            check = TopicCheck(topic, head, keys, self.content, self.verdicts, self.findings)
            for event in self.log[topic]:
                check.check(event)
            check.finish()
        return self.sentences

    @property
    def sentences(self) -> list[str]:
        """The differences so far."""
        return [finding.sentence for finding in self.findings.listed]


class _Sent(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    event_id: str
    timestamp: str
    source: str
    payload: msgspec.Raw


MakeScene = Callable[..., Scene]
"""`make_scene(events=..., heads=(7, 0, 3))`."""
