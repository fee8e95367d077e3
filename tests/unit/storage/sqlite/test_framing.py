"""Messages between two processes, as a thread reads and writes them."""

import socket

import pytest

from storage.sqlite.framing import receive, send


def test_messages_arrive_as_they_were_sent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as received:
        for message in (b"a", b"\x00\x00\x00\x05", bytes(range(256)) * 100):
            send(ours, message)
            assert receive(received) == message
        ours.shutdown(socket.SHUT_WR)
        assert receive(received) == b""


@pytest.mark.parametrize("sent", [1, 3, 4, 5, 9])
def test_a_message_that_was_cut_off_is_none(sent: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as received:
        ours.sendall(((6).to_bytes(4, "big") + b"longer")[:sent])
        ours.shutdown(socket.SHUT_WR)
        assert receive(received) == b""


def test_who_sends_to_nobody_is_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(OSError, match="Broken pipe"):
        send(ours, b"a")
