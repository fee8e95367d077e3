"""Reproducible event ids, computed from the name of a run and the number of a key."""

import hashlib
import re
import secrets
from collections.abc import Callable

from publisher.ids import EPOCH_MS, MAX_NODE, TimeNodeId, now_ms

ID_KINDS = ("uuid7", "uuid4", "time-node", "numbered")
KEYS_A_MS = 32

_YEAR_MS = 365 * 86_400_000
_SPAN_MS = 50 * _YEAR_MS
_STAMPED_RUN = re.compile(r"([0-9a-f]{11})-")


def new_run() -> str:
    """Return a name that no other run has."""
    return f"{now_ms():011x}-{secrets.token_hex(4)}"


def ids_for(kind: str, run: str) -> Callable[[int], str]:
    """Build the function from the number of a key to its event_id.

    Args:
        kind: one of ID_KINDS. `numbered` is `RUN-e-NUMBER`. The others have the form of their kind,
            but are computed from run and number, so that any of them can be made again. Those of
            `uuid7` and `time-node` ascend with the number, KEYS_A_MS of them a millisecond.
        run: the name of the run; another name makes other ids. If it begins with 11 hex digits and
            a dash, as those of `new_run` do, the digits are the Unix milliseconds at which `uuid7`
            and `time-node` begin.

    Returns:
        The function, for numbers from 0 to 2**40.
    """
    secret = hashlib.blake2b(run.encode()).digest()
    digest = hashlib.blake2b

    def uuid4(number: int) -> str:
        text = digest(number.to_bytes(8, "big"), key=secret, digest_size=16).hexdigest()
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

    stamped = _STAMPED_RUN.match(run)
    start_ms = int(stamped[1], 16) if stamped else 0
    if not EPOCH_MS <= start_ms < EPOCH_MS + _SPAN_MS:
        start_ms = EPOCH_MS + int.from_bytes(secret[:8], "big") % _YEAR_MS
    node = int.from_bytes(secret[8:10], "big") & MAX_NODE

    def uuid7(number: int) -> str:
        text = digest(number.to_bytes(8, "big"), key=secret, digest_size=9).hexdigest()
        time_ms, place = divmod(number, KEYS_A_MS)
        time = f"{start_ms + time_ms:012x}"
        # RFC 9562, 6.2: the 12 bits behind the time may count within a millisecond.
        count = f"{place << 7 | int(text[:2], 16) & 127:03x}"
        variant = "89ab"[int(text[2], 16) & 3]
        return f"{time[:8]}-{time[8:]}-7{count}-{variant}{text[3:6]}-{text[6:]}"

    def time_node(number: int) -> str:
        time_ms, place = divmod(number, KEYS_A_MS)
        return str(TimeNodeId(start_ms + time_ms, node, place))

    def numbered(number: int) -> str:
        return f"{run}-e-{number}"

    kinds = {"uuid7": uuid7, "uuid4": uuid4, "time-node": time_node, "numbered": numbered}
    return kinds[kind]
