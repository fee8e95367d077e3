"""Could the aggregator have written this row? The rules of an event, for what is stored."""

import msgspec

from aggregator.wire.errors import MalformedBody
from aggregator.wire.event_rules import (
    MAX_NESTING,
    kind_of,
    name_rule_broken,
    nests_too_deep,
    topic_rule_broken,
)
from aggregator.wire.json_masking import Masked, may_have_lone_surrogate
from storage.audit.snapshot import Row
from storage.model import MAX_TIME_US, MIN_TIME_US

_TOO_DEEP = f"must not nest deeper than {MAX_NESTING} levels"

_check_json = msgspec.json.Decoder(msgspec.Raw).decode


def row_rule_broken(row: Row) -> str | None:
    """What is wrong with a stored row, or None.

    Args:
        row: topic, offset, event_id, timestamp and ts_ingest in microseconds, source, payload.
    """
    topic, offset, event_id, timestamp_us, ts_ingest_us, source, payload = row
    if broken := topic_rule_broken(topic):
        return f"the topic {broken}"
    if offset < 1:
        return "the offset must be 1 or more"
    if broken := name_rule_broken(event_id):
        return f"the event_id {broken}"
    if broken := name_rule_broken(source):
        return f"the source {broken}"
    for name, time_us in (("timestamp", timestamp_us), ("ts_ingest", ts_ingest_us)):
        if not MIN_TIME_US <= time_us < MAX_TIME_US:
            return f"the {name} is outside the years 1 to 9999, {time_us} microseconds after 1970"
    if broken := _payload_rule_broken(payload):
        return f"the payload {broken}"
    return None


def _payload_rule_broken(payload: str) -> str | None:
    try:
        text = payload.encode()
        _check_json(_readable(text))
    except UnicodeEncodeError:
        return "is not UTF-8"
    except (msgspec.DecodeError, MalformedBody) as error:
        return f"is not JSON: {error}"
    except RecursionError:
        return _TOO_DEEP
    # First, since the depth at which the decoder gives up is the interpreter's.
    if nests_too_deep(text):
        return _TOO_DEEP
    if kind_of(text) != "an object":
        return f"must be an object, not {kind_of(text)}"
    return None


def _readable(text: bytes) -> bytes:
    return Masked(text, flatten=False).body if may_have_lone_surrogate(text) else text
