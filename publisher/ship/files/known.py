"""The states of contents that are known, found by inode and by their first bytes."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from publisher.ship.files.identity import FileIdentity, is_same
from publisher.ship.files.state import HEAD_BYTES, ContentState, Place

_BEGINNING_BYTES = 6


class Known:
    """Holds the states of contents.

    Args:
        states: the one that was saved first at the front.
    """

    def __init__(self, states: Iterable[ContentState]) -> None:
        self._states: dict[int, ContentState] = {}
        self._by_inode: defaultdict[int, list[ContentState]] = defaultdict(list)
        self._by_path: dict[str, ContentState] = {}
        for state in states:
            self.add(state)

    def add(self, state: ContentState) -> ContentState:
        """Add a state, and return it."""
        self._states[id(state)] = state
        self._by_inode[state.identity.inode].append(state)
        self._by_path[state.path] = state
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

    def last_at(self, path: str) -> ContentState | None:
        """Return the content that was met last under a path."""
        return self._by_path.get(path)

    def under_way(self) -> list[ContentState]:
        """Return the contents that have not ended."""
        return [state for state in self._states.values() if not state.ended]

    def beginnings(self, read_to: Callable[[ContentState], Place]) -> "Beginnings":
        """Return the contents by their first bytes, as they are now.

        Args:
            read_to: gives up to where a content was read.
        """
        return Beginnings((state, read_to(state)) for state in self._states.values())


class Beginnings:
    """Finds the contents that begin like a file, of thousands for each of thousands of files.

    Args:
        contents: each with the place up to which it was read.
    """

    def __init__(self, contents: Iterable[tuple[ContentState, Place]]) -> None:
        self._all = [(state, place) for state, place in contents if place.head]
        self._long: defaultdict[bytes, list[tuple[ContentState, Place]]] = defaultdict(list)
        self._short: list[tuple[ContentState, Place]] = []
        self._new: list[tuple[ContentState, Place]] = []
        for state, place in self._all:
            if len(place.head) < _BEGINNING_BYTES:
                self._short.append((state, place))
            else:
                self._long[place.head[:_BEGINNING_BYTES]].append((state, place))

    def add(self, state: ContentState, place: Place) -> None:
        """Add a content that was met just now."""
        self._new.append((state, place))

    def alike(self, head: bytes, *, with_new: bool = False) -> list[tuple[ContentState, Place]]:
        """Return the contents that begin like a file, as far as both go; the longest first.

        Args:
            head: the first bytes of the file, at most HEAD_BYTES.
            with_new: among those too that were added.

        Returns:
            Each with the place up to which it was read.
        """
        candidates = self._all
        if len(head) >= _BEGINNING_BYTES:
            candidates = self._short + self._long.get(head[:_BEGINNING_BYTES], [])
        if with_new:
            candidates = candidates + self._new
        found = [(state, place) for state, place in candidates if _is_alike(place.head, head)]
        return sorted(found, key=lambda each: -each[1].position)


def _is_alike(head: bytes, other: bytes) -> bool:
    shared = min(len(head), len(other), HEAD_BYTES)
    return head[:shared] == other[:shared]
