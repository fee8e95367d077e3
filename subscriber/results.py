"""The ids of results, which make publishing them again harmless."""

from hashlib import sha256

from subscriber.events import Event

_MAX_ID_CHARACTERS = 256
_MAX_STEP_CHARACTERS = 100


def result_id(event: Event, step: str) -> str:
    """Return the id under which a result of an event is published.

    It is `topic/offset/step`, so that it is the same however often the event is delivered, and the
    aggregator stores the result once. Where that would be longer than an id may be, the SHA-256 of
    the topic, in hexadecimal digits, stands for its name.

    Args:
        event: the event that the result is made of.
        step: what makes it, 1 to 100 printable characters; another one for each result of an event
            within a topic.

    Raises:
        ValueError: the step is none; one sentence.
    """
    if not (0 < len(step) <= _MAX_STEP_CHARACTERS and step.isprintable()):
        raise ValueError(f"step must be 1 to 100 printable characters, not {step!r}")
    text = f"{event.topic}/{event.offset}/{step}"
    if len(text) <= _MAX_ID_CHARACTERS:
        return text
    return f"{sha256(event.topic.encode()).hexdigest()}/{event.offset}/{step}"
