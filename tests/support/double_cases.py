"""The cases of `tests/contract/cases`, run against whatever answers their requests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from support.events import published

DIRECTORY = Path(__file__).parents[1] / "contract" / "cases"

_ROUTES = {
    "make": ("PUT", "", 201),
    "look": ("GET", "", 200),
    "delete": ("DELETE", "", 204),
    "lease": ("POST", "/lease", 200),
    "settle": ("POST", "/settle", 200),
    "seek": ("POST", "/seek", 200),
    "pause": ("POST", "/pause", 200),
    "resume": ("POST", "/resume", 200),
    "dead": ("GET", "/dead", 200),
    "retry_dead": ("POST", "/dead/retry", 200),
    "drop_dead": ("DELETE", "/dead", 204),
}
"""By what a step asks for: the method, the path behind the subscription's, the usual status."""

_MEMBERS = {"of", "as", "status", "answer", "gives", "counts", "says", "count", "payload_bytes"}
_COUNTS = ("acknowledged", "dead", "leased", "waiting")


class Case(NamedTuple):
    """What a client does, and what it is answered; see `tests/contract/cases/README.md`."""

    name: str
    sentences: Sequence[int]
    steps: Sequence[Mapping[str, Any]]


class Answer(NamedTuple):
    """The status of a response, and the JSON value of its body; None: it has none."""

    status: int
    content: Any


class Target(Protocol):
    """Answers requests as an aggregator does."""

    async def send(self, method: str, path: str, body: Any) -> Answer:
        """Send a request; its body is a JSON value, or None."""
        ...

    def let_pass(self, ms: int) -> None:
        """Let so many milliseconds pass."""


def groups() -> list[str]:
    """The names of the files of cases."""
    return sorted(path.stem for path in DIRECTORY.glob("*.json"))


def cases(group: str) -> list[Case]:
    """The cases of a file."""
    return [Case(**each) for each in json.loads((DIRECTORY / f"{group}.json").read_text())]


async def run_case(case: Case, target: Target, prefix: str = "") -> None:
    """Run a case.

    Args:
        case: the case.
        target: answers it.
        prefix: what keeps its topics and subscriptions apart from those of others.
    """
    run = CaseRun(target, Prefixed(case, prefix))
    for number, step in enumerate(case.steps, 1):
        try:
            await run.do(step)
        except AssertionError as error:
            error.add_note(f"in step {number} of {case.name!r}: {json.dumps(step)}")
            raise


class Prefixed:
    """The topics of a case with a prefix, in requests, and without it in answers.

    Args:
        case: every topic that it has events of, or subscribes to, is one of these.
        prefix: what is put in front of each.
    """

    def __init__(self, case: Case, prefix: str) -> None:
        self._prefix = prefix
        self._topics = {step["publish"]["topic"] for step in case.steps if "publish" in step}
        for step in case.steps:
            topics = step.get("make", {}).get("topics", [])
            self._topics |= set(topics) if isinstance(topics, list) else set()

    def name(self, subscription: str) -> str:
        """The name of a subscription."""
        return self._prefix + subscription

    def out(self, value: Any) -> Any:
        """A value as it is sent."""
        if isinstance(value, str):
            return self._prefix + value if value in self._topics else value
        if isinstance(value, dict):
            return {self.out(key): self.out(each) for key, each in value.items()}
        return [self.out(each) for each in value] if isinstance(value, list) else value

    def back(self, value: Any) -> Any:
        """A value as it was before it was sent."""
        if isinstance(value, str):
            return value.removeprefix(self._prefix)
        if isinstance(value, dict):
            return {self.back(key): self.back(each) for key, each in value.items()}
        return [self.back(each) for each in value] if isinstance(value, list) else value


class CaseRun:
    """A run of a case, with the leases that it was given.

    Args:
        target: answers it.
        names: makes its names those of this run.
    """

    def __init__(self, target: Target, names: Prefixed) -> None:
        self._target = target
        self._names = names
        self._leases: dict[str, str] = {}

    async def do(self, step: Mapping[str, Any]) -> Answer | None:
        """Do a step, and check what is answered; None: nothing is."""
        (verb,) = step.keys() - _MEMBERS
        if verb == "pass_ms":
            self._target.let_pass(step[verb])
            return None
        if verb == "publish":
            return await self._publish(step)
        answer = await self._send(verb, step)
        status = step.get("status", _ROUTES[verb][2])
        assert answer.status == status, f"{answer} has another status than {status}"
        content = answer.content
        if "answer" in step:
            check(step["answer"], content, "the answer")
        if "says" in step:
            assert step["says"] in content["detail"], content
        if verb == "lease" and "as" in step:
            assert content["lease"] is not None, content
            self._leases[step["as"]] = content["lease"]
        if "gives" in step:
            assert given(content) == step["gives"], f"gives {given(content)}"
        if isinstance(content, dict) and "topics_total" in content:
            check_law(content)
        if "counts" in step:
            counted = [content[name] for name in _COUNTS]
            assert counted == step["counts"], f"acknowledged, dead, leased, waiting: {counted}"
        return answer

    async def _publish(self, step: Mapping[str, Any]) -> Answer:
        event = self._names.out(step["publish"])
        if "payload_bytes" in step:
            event["payload"] = {"text": "x" * step["payload_bytes"]}
        events = [published(**event) for _ in range(step.get("count", 1))]
        answer = await self._target.send("POST", "/publish", events)
        assert answer.status == 200, answer
        told = [[each["status"], each["offset"]] for each in answer.content["results"]]
        assert told == step.get("answer", told), f"answers {told}"
        return answer

    async def _send(self, verb: str, step: Mapping[str, Any]) -> Answer:
        method, path, _ = _ROUTES[verb]
        path = f"/subscriptions/{self._names.name(step.get('of', 'billing'))}{path}"
        body = step[verb]
        if verb == "lease":
            body = {"consumer": "w", **body}
            if "settle" in body:
                body["settle"] = self._with_lease(body["settle"])
        if verb == "settle":
            body = self._with_lease(body)
        body = self._names.out(body)
        if verb == "drop_dead":
            path += "".join(f"/{part}" for part in body)
        answer = await self._target.send(method, path, body if method in {"POST", "PUT"} else None)
        return Answer(answer.status, self._names.back(answer.content))

    def _with_lease(self, settle: Mapping[str, Any]) -> dict[str, Any]:
        lease = settle["lease"]
        return {**settle, "lease": self._leases.get(lease, lease)}


def given(lease: Mapping[str, Any]) -> list[list[Any]]:
    """What a lease gives, as ranges: topic, first and last offset, number of the delivery."""
    ranges: list[list[Any]] = []
    for each in lease["deliveries"]:
        topic, offset = each["event"]["topic"], each["event"]["offset"]
        following = [topic, offset - 1, each["delivery"]]
        if ranges and [ranges[-1][place] for place in (0, 2, 3)] == following:
            ranges[-1][2] = offset
        else:
            ranges.append([topic, offset, offset, each["delivery"]])
    return ranges


def check(expected: Any, answered: Any, where: str) -> None:
    """Check that an answer has what is expected."""
    if isinstance(expected, dict) and isinstance(answered, int):
        assert expected.get("over", answered - 1) < answered, f"{where} is {answered}"
        assert answered <= expected.get("up_to", answered), f"{where} is {answered}"
    elif isinstance(expected, dict):
        assert isinstance(answered, dict), f"{where} is {answered}"
        for name, each in expected.items():
            assert name in answered, f"{where} has no {name}: {answered}"
            check(each, answered[name], f"{where}.{name}")
    elif isinstance(expected, list):
        assert isinstance(answered, list), f"{where} is {answered}"
        assert len(answered) == len(expected), f"{where} is {answered}"
        for number, (each, other) in enumerate(zip(expected, answered, strict=True)):
            check(each, other, f"{where}[{number}]")
    else:
        assert answered == expected, f"{where} is {answered!r}, not {expected!r}"


def check_law(subscription: Mapping[str, Any]) -> None:
    """Check the second law of conservation, of each topic and in all."""
    topics = subscription["topics"].values()
    for counted in (subscription, *topics):
        settled = counted["acknowledged"] + counted["dead"]
        left = counted["leased"] + counted["waiting"]
        assert counted["head"] - counted["start"] == settled + left, counted
    for name in ("head", "start", "redelivered", *_COUNTS):
        assert subscription[name] == sum(each[name] for each in topics), (name, subscription)
