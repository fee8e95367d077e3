"""Hypothesis: requests about a subscription, sent to two that must answer alike."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from support.double_cases import Answer, Target, check_law, given
from support.events import published

TOPICS = ["a", "b", "c"]
"""Of the subscription, but for the last."""

_ACTIONS = ["ack", "ack", "ack", "retry", "later", "dead", "release", "keep", "keep"]
_SPOILT = ["", "", "", "", "beyond", "twice", "elsewhere", "backwards"]

settings = st.fixed_dictionaries(
    {
        "topics": st.just(TOPICS[:2]),
        "from": st.sampled_from(["start", "now"]),
        "order": st.sampled_from(["topic", "none"]),
        "lease_ms": st.just(1_000_000),
        "max_deliveries": st.integers(1, 4),
        "backoff_ms": st.sampled_from([[0], [0, 500_000], [500_000]]),
        "stop_after_dead": st.sampled_from([None, None, 2]),
        "max_leased": st.sampled_from([1000, 1000, 3]),
    }
).flatmap(
    lambda drawn: st.sampled_from(
        [drawn] if drawn["order"] == "none" else [drawn, drawn | {"on_dead": "pause"}]
    )
)

_wishes = st.fixed_dictionaries(
    {
        "back": st.sampled_from([1, 1, 1, 2, 3]),
        "actions": st.lists(st.sampled_from(_ACTIONS), min_size=1, max_size=5),
        "spoilt": st.sampled_from(_SPOILT),
        "extend_ms": st.sampled_from([None, None, None, 2_000_000]),
        "error": st.sampled_from([None, "no"]),
        "again": st.booleans(),
    }
)
_leases = st.fixed_dictionaries({"max_events": st.sampled_from([1, 2, 3, 20])})
_begins = st.sampled_from(
    ["start", "now", {"offsets": {"a": 1}}, {"offsets": {"b": 3}}, {"offsets": {"c": 0}}]
)

steps = st.one_of(
    st.tuples(st.just("publish"), st.tuples(st.sampled_from(TOPICS), st.integers(1, 12))),
    st.tuples(st.just("lease"), _leases),
    *[st.tuples(st.just("work"), st.tuples(_leases, _wishes))] * 4,
    *[st.tuples(st.just("both"), st.tuples(_leases, _wishes))] * 2,
    st.tuples(st.just("settle"), _wishes),
    st.tuples(st.just("wait"), st.sampled_from([100_000, 500_000, 1_000_000, 1_000_000])),
    st.tuples(st.just("post"), st.sampled_from([("pause", {}), ("resume", {}), ("resume", {})])),
    st.tuples(st.just("seek"), st.tuples(_begins, st.booleans())),
    st.tuples(
        st.just("revive"), st.sampled_from([None, [["a", 1, 3]], [["a", 2, 9], ["b", 1, 1]]])
    ),
    st.tuples(st.just("drop"), st.tuples(st.sampled_from(TOPICS), st.integers(1, 4))),
)
"""Requests, or time that passes; each is the name of a method of `Pair`, and its argument."""


class Pair:
    """Two targets that are sent the same, and whose answers are compared.

    Args:
        targets: both.
        prefix: what keeps the topics and the subscription apart from those of others.
    """

    def __init__(self, targets: Sequence[Target], prefix: str) -> None:
        self._targets = targets
        self._prefix = prefix
        self._path = f"/subscriptions/{prefix}s"
        self._numbers = itertools.count(1)
        self._leases: list[tuple[Sequence[str], Sequence[tuple[str, int]]]] = []
        """Of each lease its texts, one of each target, and its events."""

    async def run(self, made: Mapping[str, Any], steps: Sequence[tuple[str, Any]]) -> None:
        """Make a subscription with settings, and do steps."""
        for topic in TOPICS:
            await self.publish((topic, 4))
        wanted = dict(made) | {"topics": [self._prefix + topic for topic in made["topics"]]}
        await self._send("PUT", "", [wanted, wanted])
        for name, argument in steps:
            await getattr(self, name)(argument)
            await self._send("GET", "")
        await self._send("GET", "/dead")

    async def publish(self, drawn: tuple[str, int]) -> None:
        """Publish so many events to a topic."""
        topic, count = drawn
        events = [published(topic=self._prefix + topic) for _ in range(count)]
        for target in self._targets:
            assert (await target.send("POST", "/publish", events)).status == 200

    async def wait(self, ms: int) -> None:
        """Let so many milliseconds pass."""
        for target in self._targets:
            target.let_pass(ms)

    async def lease(self, drawn: Mapping[str, Any]) -> None:
        """Lease events."""
        await self._lease([dict(drawn), dict(drawn)])

    async def settle(self, wish: Mapping[str, Any]) -> None:
        """Settle events of one of the last leases, once or twice."""
        if (settles := self._wished(wish)) is not None:
            for _ in range(1 + wish["again"]):
                await self._send("POST", "/settle", settles)

    async def work(self, drawn: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        """Lease, and settle."""
        lease, wish = drawn
        await self.lease(lease)
        await self.settle(wish)

    async def both(self, drawn: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        """Settle, and lease behind it, in one request; once or twice."""
        lease, wish = drawn
        if (settles := self._wished(wish)) is not None:
            for _ in range(1 + wish["again"]):
                await self._lease([{**lease, "settle": settle} for settle in settles])

    async def post(self, drawn: tuple[str, dict[str, Any]]) -> None:
        """Pause, or resume."""
        action, body = drawn
        await self._send("POST", f"/{action}", [body, body])

    async def seek(self, drawn: tuple[Any, bool]) -> None:
        """Move the subscription."""
        begins, dry_run = drawn
        if isinstance(begins, dict):
            named = {self._prefix + topic: offset for topic, offset in begins["offsets"].items()}
            begins = {"offsets": named}
        body = {"from": begins, "dry_run": dry_run}
        await self._send("POST", "/seek", [body, body])

    async def revive(self, ranges: Sequence[Sequence[Any]] | None) -> None:
        """Retry dead letters."""
        body: dict[str, Any] = {"all": True}
        if ranges is not None:
            body = {"offsets": [[self._prefix + topic, *rest] for topic, *rest in ranges]}
        await self._send("POST", "/dead/retry", [body, body])

    async def drop(self, drawn: tuple[str, int]) -> None:
        """Drop a dead letter."""
        await self._send("DELETE", f"/dead/{self._prefix}{drawn[0]}/{drawn[1]}")

    async def _lease(self, bodies: Sequence[dict[str, Any]]) -> None:
        # When a real aggregator forgets settles of a label's former leases depends on real time.
        consumer = f"w-{next(self._numbers)}"
        sent = [{"consumer": consumer, **body} for body in bodies]
        answers = await self._send("POST", "/lease", sent)
        if answers[0].status == 200 and answers[0].content["lease"] is not None:
            events = [each["event"] for each in answers[0].content["deliveries"]]
            texts = [answer.content["lease"] for answer in answers]
            self._leases.append((texts, [(each["topic"], each["offset"]) for each in events]))

    async def _send(
        self, method: str, path: str, bodies: Sequence[Any] = (None, None)
    ) -> list[Answer]:
        answers = [
            await target.send(method, self._path + path, body)
            for target, body in zip(self._targets, bodies, strict=True)
        ]
        one, other = (told(answer) for answer in answers)
        assert one == other, f"{method} {path} {bodies[0]}: {one}, and {other}"
        return answers

    def _wished(self, wish: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        if len(self._leases) < wish["back"]:
            return None
        texts, events = self._leases[-wish["back"]]
        parts = settle_parts(events, wish, self._prefix)
        return [{"lease": text, **parts} for text in texts]


def settle_parts(
    events: Sequence[tuple[str, int]], wish: Mapping[str, Any], prefix: str
) -> dict[str, Any]:
    """What a settle has beside its lease.

    Args:
        events: topics and offsets of the lease.
        wish: what is to become of them, in turns, and what is wrong with it.
        prefix: of topics.
    """
    parts: dict[str, Any] = {"ack": [], "retry": [], "dead": [], "release": []}
    for number, (topic, offset) in enumerate(events):
        match wish["actions"][number % len(wish["actions"])]:
            case "retry":
                parts["retry"].append({"topic": topic, "offset": offset, "error": wish["error"]})
            case "later":
                parts["retry"].append({"topic": topic, "offset": offset, "after_ms": 500_000})
            case "dead":
                parts["dead"].append({"topic": topic, "offset": offset, "error": wish["error"]})
            case ("ack" | "release") as action:
                parts[action].append([topic, offset, offset])
    topic, last = events[-1]
    name, spoilt = {
        "": ("ack", []),
        "beyond": ("ack", [[topic, last + 1, last + 1]]),
        "twice": ("release", [[topic, 1, last]]),
        "elsewhere": ("ack", [[f"{prefix}c", 1, 1]]),
        "backwards": ("release", [[topic, 2, 1]]),
    }[wish["spoilt"]]
    parts[name] += spoilt
    if wish["extend_ms"] is not None:
        parts["extend_ms"] = wish["extend_ms"]
    return parts


_UNTOLD = {"first_failed_at", "dead_at", "event"}


def told(answer: Answer) -> Any:
    """What an answer tells, without what differs each time."""
    status, content = answer
    if status >= 400:
        return status, content.get("code")
    if isinstance(content, list):
        return [{k: v for k, v in each.items() if k not in _UNTOLD} for each in content]
    if isinstance(content, dict) and "topics_total" in content:
        check_law(content)
        topics = {topic: counts(each) for topic, each in content["topics"].items()}
        return status, counts(content), topics, content["state"], content["reason"]
    if isinstance(content, dict) and "deliveries" in content:
        settled = content.get("settled")
        lag = content["lag"]["events"]
        return status, given(content), lag, None if settled is None else settle_told(settled)
    if isinstance(content, dict) and "acknowledged" in content:
        return status, settle_told(content)
    return status, content


def counts(counted: Mapping[str, Any]) -> list[int]:
    """The counts of a subscription, or of a topic of it."""
    names = ("head", "start", "acknowledged", "dead", "leased", "waiting", "redelivered")
    return [counted[name] for name in names]


def settle_told(settled: Mapping[str, Any]) -> list[Any]:
    """The counts of a settle, and whether anything of its lease is left."""
    names = ("acknowledged", "retried", "dead", "released")
    return [*(settled[name] for name in names), settled["expires_in_ms"] is None]
