"""Contents are found by the file that holds them, and by their first bytes."""

from hypothesis import given
from hypothesis import strategies as st

from publisher.ship.files.identity import FileIdentity
from publisher.ship.files.known import Known
from publisher.ship.files.state import HEAD_BYTES, ContentState, Place


def state_of(
    identity: FileIdentity = FileIdentity(1, 2, 3),  # noqa: B008 - never changed
    content: bytes = b"",
    *,
    ended: bool = False,
) -> ContentState:
    place = Place(len(content), b"", content[:HEAD_BYTES], content[-256:])
    return ContentState("/app.log", "source", "host", identity, place=place, ended=ended)


def test_contents_of_a_file_are_found_the_last_one_first() -> None:
    first, second, other = state_of(), state_of(), state_of(FileIdentity(1, 4, 3))
    reborn = state_of(FileIdentity(1, 2, 9))
    known = Known([first, other, second, reborn])
    assert known.of_file(FileIdentity(1, 2, 3)) == [second, first]
    assert known.of_file(FileIdentity(1, 2, 3))[0] is second
    # Its device may have another number after a mount.
    assert len(known.of_file(FileIdentity(7, 2, 3))) == 2
    assert known.of_file(FileIdentity(1, 5, 3)) == []
    assert [known.has_inode(inode) for inode in (2, 4, 5)] == [True, True, False]


def test_content_that_moved_is_found_by_its_new_file_alone() -> None:
    state, other = state_of(), state_of()
    known = Known([state, other])
    known.move(state, FileIdentity(1, 8, 8))
    (found,) = known.of_file(FileIdentity(1, 8, 8))
    assert found is state
    (left,) = known.of_file(FileIdentity(1, 2, 3))
    assert left is other
    assert state.identity == FileIdentity(1, 8, 8)


def test_contents_that_have_not_ended_are_under_way() -> None:
    state = state_of()
    known = Known([state, state_of(ended=True)])
    assert [each is state for each in known.under_way()] == [True]
    assert known.add(state_of()) in known.under_way()


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"a" * 15, b"a" * 16, b"a" * 17])))
def test_contents_that_begin_alike_are_found_the_longest_first(contents: list[bytes]) -> None:
    states = [state_of(content=content) for content in contents]
    beginnings = Known(states).beginnings(lambda state: state.place)
    for head in [*contents, b"a" * 16, b""]:
        found = [state for state, _ in beginnings.alike(head)]
        expected = {
            id(state)
            for state, content in zip(states, contents, strict=True)
            if content and (content.startswith(head) or head.startswith(content))
        }
        assert {id(state) for state in found} == expected
        positions = [state.place.position for state in found]
        assert positions == sorted(positions, reverse=True)


def test_contents_are_compared_by_what_was_read_of_them() -> None:
    state = state_of(content=b"acknowledged")
    beginnings = Known([state]).beginnings(lambda _: Place(4, b"", b"read"))
    assert beginnings.alike(b"acknowledged") == []
    assert beginnings.alike(b"read on") == [(state, Place(4, b"", b"read"))]
