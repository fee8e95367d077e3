"""Of a file that breaks while it is read, people learn that what stands before is sent."""

from pathlib import Path

from publisher.ship.files.readable_file import Damaged
from publisher.ship.files.told import Told


def test_a_file_that_breaks_while_it_is_read_is_told_of_once_with_what_is_sent() -> None:
    told = Told()
    for _ in range(2):
        told.unreadable(Path("a.gz"), Damaged("'a.gz' is broken"))
    told.unreadable(Path("b.log"), OSError(5, "Input/output error"))
    assert told.take() == [
        "'a.gz' is broken; what stands before that is sent",
        "cannot read 'b.log': Input/output error",
    ]
