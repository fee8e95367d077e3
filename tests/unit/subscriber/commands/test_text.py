"""Tables and dead letters as text for people."""

from subscriber.commands.administration.dead_letter_text import dead_letter_line, shortened
from subscriber.commands.administration.table import table


def test_table_has_texts_to_the_left_and_numbers_to_the_right() -> None:
    rows = [("orders", 7, 0.5, "x"), ("a\x1b", 1234, 10.25, "")]
    assert table(["topic", "events", "s", "note"], rows) == [
        "topic    events      s  note",
        "orders        7    0.5  x",
        "a\\u001b   1,234  10.25",
    ]
    assert table(["topic", "events"], []) == ["topic  events"]


def test_long_error_keeps_its_beginning_and_its_end_on_one_line() -> None:
    assert shortened(" a\n\tb ") == "a b"
    assert shortened("x" * 200) == "x" * 200
    long = shortened(f"exit status 1: {'x' * 4000}\nValueError: no")
    assert len(long) == 203
    assert long.startswith("exit status 1: xxx")
    assert long.endswith("xxx ValueError: no")


def test_dead_letter_is_a_line_whatever_it_holds() -> None:
    letter = {"topic": "t", "offset": 3, "deliveries": 2, "dead_at": "now", "last_error": "a\x1b"}
    assert dead_letter_line(letter) == b"now t/3, 2 deliveries: a\\u001b\n"
    assert dead_letter_line(letter | {"last_error": None}).endswith(b": no error was told\n")
    assert dead_letter_line({}) == b"None None/None: no error was told\n"
