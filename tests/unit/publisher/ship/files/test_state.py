"""Names tell contents apart that begin alike, and are the same for the same file."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.files.identity import FileIdentity
from publisher.ship.files.state import ContentState, Naming, Place

IDENTITY = FileIdentity(1, 2, 3)
TEXTS = st.text(max_size=3)


def state_of(host: str = "web1", source: str = "source", path: str = "/app.log") -> ContentState:
    return ContentState(path, source, host, IDENTITY)


def named(state: ContentState, line: bytes = b"first\n", naming: Naming | None = None) -> str:
    (naming or Naming(by_source=False, taken=None)).choose(state, line)
    return state.name


def test_name_is_made_of_host_source_path_number_and_first_line() -> None:
    made = hashlib.sha256(b"web1\0source\0/app.log\x000\0first\n").hexdigest()[:20]
    assert named(state_of()) == made
    assert state_of().start == b""
    naming = Naming(by_source=False, taken={made})
    second = hashlib.sha256(b"web1\0source\0/app.log\x001\0first\n").hexdigest()[:20]
    assert named(state_of(), naming=naming) == second


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS, st.binary(max_size=3)), unique=True, max_size=5))
def test_names_differ_if_anything_does(kinds: list[tuple[str, str, str, bytes]]) -> None:
    kinds = [kind for kind in kinds if not any("\0" in text for text in kind[:3])]
    names = [named(state_of(host, source, path), line) for host, source, path, line in kinds]
    assert len(set(names)) == len(kinds)


@given(st.integers(1, 5), st.booleans())
def test_contents_that_begin_alike_have_names_of_their_own(count: int, by_source: bool) -> None:
    naming = Naming(by_source=by_source, taken=set())
    assert len({named(state_of(), naming=naming) for _ in range(count)}) == count
    # Without a checkpoint each is the first.
    naming = Naming(by_source=by_source, taken=None)
    assert len({named(state_of(), naming=naming) for _ in range(count)}) == 1


def test_name_of_the_source_is_that_of_version_0_1() -> None:
    naming = Naming(by_source=True, taken=set())
    for salt in ("", "1", "2"):
        state = state_of()
        start = hashlib.sha256(f"source\0{salt}".encode()).digest()
        made = hashlib.sha256(start + b"first\n").hexdigest()[:20]
        assert (named(state, naming=naming), state.start) == (made, start)
    elsewhere = state_of("web2", "source", "/other.log")
    assert named(elsewhere, naming=Naming(by_source=True, taken=None)) == named(
        state_of(), naming=Naming(by_source=True, taken=None)
    )


def test_path_of_any_bytes_has_a_name() -> None:
    assert named(state_of(path="/caf\udce9")) != named(state_of(path="/caf"))


def test_another_host_has_another_name_and_always_the_same() -> None:
    state, again = state_of(), state_of()
    mine = named(state)
    named(again)
    state.of_host("web1")
    assert state.name == mine
    state.of_host("web2")
    assert state.host == "web2"
    assert len(state.name) == 20
    assert state.name != mine
    again.of_host("web2")
    assert again.name == state.name
    unnamed = state_of()
    unnamed.of_host("web2")
    assert (unnamed.host, unnamed.name) == ("web2", "")


def test_ids_of_no_host_stay() -> None:
    state = state_of(host="")
    named(state)
    before = state.name
    state.of_host("web2")
    assert (state.host, state.name) == ("", before)


def test_content_has_ended_when_its_last_place_is_acknowledged() -> None:
    state = state_of()
    state.acknowledge(Place(5, b""))
    assert not state.ended
    state.last = Place(9, b"")
    state.acknowledge(Place(7, b""))
    assert (state.place.position, state.ended) == (7, False)
    state.acknowledge(Place(9, b""))
    assert state.ended
