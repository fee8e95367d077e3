"""The states of contents that are known, found by inode and by their first bytes."""

from collections import defaultdict
from collections.abc import Iterable

from publisher.ship.files.identity import FileIdentity, is_same
from publisher.ship.files.state import HEAD_BYTES, ContentState

_BEGINNING_BYTES = 16


class Known:
    """Holds the states of contents.

    Args:
        states: the one that was saved first at the front.
    """

    def __init__(self, states: Iterable[ContentState]) -> None:
        self._states: dict[int, ContentState] = {}
        self._by_inode: defaultdict[int, list[ContentState]] = defaultdict(list)
        for state in states:
            self.add(state)

    def add(self, state: ContentState) -> ContentState:
        """Add a state, and return it."""
        self._states[id(state)] = state
        self._by_inode[state.identity.inode].append(state)
        return state

    def move(self, state: ContentState, identity: FileIdentity) -> None:
        """Take in that another file holds a content now."""
        others = self._by_inode[state.identity.inode]
        others[:] = [other for other in others if other is not state]
        state.identity = identity
        self._by_inode[identity.inode].append(state)

    def has_inode(self, inode: int) -> bool:
        """Tell whether a file with this inode held a content."""
        return bool(self._by_inode.get(inode))

    def of_file(self, identity: FileIdentity) -> list[ContentState]:
        """Return the contents that a file has held, the last one first."""
        states = self._by_inode.get(identity.inode, ())
        return [state for state in reversed(states) if is_same(state.identity, identity)]

    def under_way(self) -> list[ContentState]:
        """Return the contents that have not ended."""
        return [state for state in self._states.values() if not state.ended]

    def alike(self, head: bytes) -> list[ContentState]:
        """Return the contents that begin like a file, as far as both go; the longest first.

        Args:
            head: the first bytes of the file, at most HEAD_BYTES.
        """
        found = [
            state
            for state in self._states.values()
            if state.place.head and _is_alike(state.place.head, head)
        ]
        return sorted(found, key=lambda state: -state.place.position)


def _is_alike(head: bytes, other: bytes) -> bool:
    # Most differ at once.
    if head[:_BEGINNING_BYTES] != other[:_BEGINNING_BYTES] and min(len(head), len(other)) >= (
        _BEGINNING_BYTES
    ):
        return False
    shared = min(len(head), len(other), HEAD_BYTES)
    return head[:shared] == other[:shared]
