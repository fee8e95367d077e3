"""Whatever happens to logs and to the shipper, lines are stored as docs/use/ship.md says."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis.stateful import run_state_machine_as_test
from support.ship_machine import ShipMachine


@pytest.mark.timeout(3600)
def test_lines_are_stored_as_the_table_says_whatever_happens_to_logs_and_shipper() -> None:
    run_state_machine_as_test(ShipMachine)


@contextmanager
def machine(
    kinds: list[str], *, kind: str = "pattern", appends: bool = True
) -> Iterator[ShipMachine]:
    """A machine of which a test takes the steps; at the end all is judged."""
    taken = ShipMachine()
    taken.begin(kind=kind, is_exact=True, appends=appends, keeps=True, kinds=kinds)
    yield taken
    taken.teardown()


def test_last_line_of_a_file_that_was_renamed_while_nothing_ran_is_sent() -> None:
    with machine(["unique", "half"]) as taken:
        taken.work()
        taken.kill()
        taken.rename_and_create(reopens=True, fresh=True, kinds=["other"])


def test_what_is_emptied_before_it_is_read_is_said() -> None:
    with machine(["unique"]) as taken:
        taken.read_on(steps=1)
        taken.truncate(kinds=[])


def test_what_was_read_of_a_deleted_file_and_not_acknowledged_when_killed_is_said() -> None:
    with machine(["unique", "other", "same", "blank", "cr", "unique"]) as taken:
        taken.read_on(steps=20)
        taken.deliver_on(steps=3)
        taken.delete(anew="empty")
        taken.read_on(steps=20)
        taken.pass_time(seconds=11.0)
        taken.read_on(steps=20)
        taken.pass_time(seconds=11.0)
        taken.read_on(steps=20)
        taken.kill()


def test_deleted_and_made_anew_while_nothing_ran_is_said() -> None:
    with machine(["unique", "other"]) as taken:
        taken.work()
        taken.write(kinds=["other"], alike=False)
        taken.kill()
        taken.delete(anew="empty")
        taken.write(kinds=["same"], alike=False)


def test_compressed_before_it_is_read_is_stored_once() -> None:
    with machine(["unique", "other"]) as taken:
        taken.rename_away(where="date", kinds=["same"])
        taken.read_on(steps=1)
        taken.compress_all(suffix=".gz", deletes=True)


def test_archive_without_an_end_waits_for_it() -> None:
    with machine(["unique", "other"]) as taken:
        taken.work()
        taken.rename_away(where="date", kinds=["same"])
        taken.compress_all(suffix=".zst", deletes=False)
        taken.work()
        taken.pass_time(seconds=3.0)
        taken.work()
        taken.complete_archive(deletes=True)


def test_archive_of_a_file_with_a_hole_is_stored_once() -> None:
    with machine(["long", "long"], appends=False) as taken:
        taken.work()
        taken.truncate(kinds=["other"])
        taken.work()
        taken.rename_away(where="date", kinds=["same"])
        taken.work()
        taken.compress_all(suffix=".gz", deletes=True)


def test_copied_and_emptied_file_that_is_moved_out_of_sight_is_stored_once() -> None:
    with machine(["unique", "other"]) as taken:
        taken.work()
        taken.copy(name="app.log.1", between=[], truncates=True)
        taken.rename_away(where="far", kinds=["same"])


def test_plain_file_and_its_archives_that_are_met_at_once_are_stored_once() -> None:
    with machine(["unique", "other"]) as taken:
        taken.stop()
        taken.rename_away(where="date", kinds=["same"])
        taken.compress_all(suffix=".gz", deletes=False)
        taken.complete_archive(deletes=False)
        taken.compress_all(suffix=".bz2", deletes=True)


def test_last_line_that_comes_late_to_a_renamed_file_is_sent() -> None:
    with machine(["unique"]) as taken:
        taken.work()
        taken.rename_and_create(reopens=False, fresh=True, kinds=["other"])
        taken.wait()
        taken.write(kinds=["half"], alike=False)


def test_last_line_of_a_copied_and_emptied_file_is_sent() -> None:
    with machine(["unique", "half"]) as taken:
        taken.work()
        taken.copy(name="app.log.1", between=[], truncates=True)


def test_file_that_grew_and_was_moved_elsewhere_since_it_was_seen_is_stored_once() -> None:
    with machine(["unique"]) as taken:
        taken.work()
        taken.write(kinds=["other"], alike=False)
        taken.rename_away(where="hidden", kinds=["same"])
        taken.move_closed(name="app-moved.log")


def test_archive_that_is_met_with_a_file_that_grew_is_not_taken_for_it() -> None:
    with machine(["unique", "other"]) as taken:
        taken.work()
        taken.kill()
        taken.copy(name="app-copy.log", between=["same"], truncates=False)
        taken.compress_all(suffix=".gz", deletes=True)


def test_copy_with_times_that_is_met_before_its_file_is_not_taken_for_it() -> None:
    with machine(["unique", "other"]) as taken:
        taken.work()
        taken.kill()
        taken.back_up(name="app-copy.log")
        taken.write(kinds=["same"], alike=False)


def test_archive_that_begins_with_all_that_another_file_has_is_sent() -> None:
    with machine(["unique"]) as taken:
        taken.stop()
        taken.rename_away(where="date", kinds=[])
        taken.compress_all(suffix=".gz", deletes=True)
        taken.write(kinds=["half"], alike=True)


def test_of_two_archives_that_begin_alike_the_one_with_its_time_is_taken() -> None:
    with machine(["blank"]) as taken:
        taken.work()
        taken.kill()
        taken.run_once(with_checkpoint=True)
        taken.copy(between=["blank"], name="app-copy.log", truncates=False)
        taken.run_once(with_checkpoint=True)
        taken.rename_closed("old/app-1.log")
        taken.compress_all(suffix=".gz", deletes=True)
        taken.copy(between=[], name="app-copy.log", truncates=True)
        taken.compress_all(suffix=".gz", deletes=True)


def test_what_is_written_behind_copying_and_emptying_is_sent_if_its_file_is_moved_away() -> None:
    with machine(["unique", "long"], kind="path") as taken:
        taken.work()
        taken.copy(between=[], name="app-copy.log", truncates=True)
        taken.write_and_read(kinds=["long", "longest", "long"], alike=False, steps=1)
        taken.rename_away(where="far", kinds=[])


def test_archive_that_is_met_with_what_it_was_made_of_is_not_sent() -> None:
    with machine(["unique", "long"], kind="deep") as taken:
        taken.kill()
        taken.rename_and_create(reopens=True, fresh=True, kinds=[])
        taken.world.compress(taken.world.logs / "app.log.1", ".zst", half=False)
        taken.rename_closed("old/app-1.log")


def test_copy_that_is_moved_is_not_taken_for_another_copy() -> None:
    with machine(["unique"], kind="deep") as taken:
        taken.back_up("app.log.1")
        taken.wait()
        taken.move_closed("old/app-1.log")


def test_file_that_is_found_again_under_another_name_is_open_once() -> None:
    with machine(["unique", "unique"], kind="path") as taken:
        taken.read_on(steps=1)
        taken.link("app-hard.log")
        taken.truncate(kinds=["unique"])
        taken.work()
        taken.delete(anew="no")


def test_copy_that_was_found_in_a_single_run_is_known_to_the_next() -> None:
    with machine(["blank"], kind="deep", appends=False) as taken:
        taken.kill()
        taken.run_once(with_checkpoint=True)
        taken.copy(between=[], name="app.log.1", truncates=False)
        taken.truncate(kinds=["blank"])
        taken.run_once(with_checkpoint=True)
        taken.rename_and_create(fresh=False, kinds=[], reopens=False)


def test_of_many_copies_the_newest_is_taken() -> None:
    with machine(["same"], kind="path") as taken:
        taken.work()
        for name in "abdefg":
            taken.copy(between=[], name=f"{name}.log", truncates=False)
        taken.write(kinds=["half"], alike=False)
        taken.copy(between=[], name="c.log", truncates=True)
        taken.rename_away(where="near", kinds=[])
