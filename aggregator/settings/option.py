"""Options: how a setting is declared, and how a text becomes its value."""

import re
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from inspect import get_annotations
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform

PREFIX = "AGGREGATOR_"

_METADATA = "option"
_UNITS = ("bytes", "events", "ms", "topics")

Value = TypeVar("Value")


class Secret:
    """A text that does not show when it is printed, such as a URI with a password."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "'**********'"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text


@dataclass(frozen=True, kw_only=True, slots=True)
class _Declared:
    """What the declaration of a setting says besides its type and default."""

    help: str
    convert: Callable[[object], object]
    metavar: str
    default_text: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A setting as an option of the command line and as a variable of the environment."""

    name: str
    """The name in Python: "queue_max_events"."""
    default: object
    help: str
    """What it sets, with the unit of its value."""
    metavar: str
    """What stands for its value in the help."""
    default_text: str
    """The default as people read it."""
    convert: Callable[[object], object]
    """Makes the value of a text, or checks one; raises `ValueError` with the end of a sentence that
    begins with the option's name: "must be a whole number greater than 0"."""

    @property
    def flag(self) -> str:
        """The option of the command line: "--queue-max-events"."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The variable of the environment: "AGGREGATOR_QUEUE_MAX_EVENTS"."""
        return PREFIX + self.name.upper()

    @property
    def is_list(self) -> bool:
        """Whether it may be repeated on the command line."""
        return isinstance(self.default, tuple)

    @property
    def is_secret(self) -> bool:
        """Whether no message may show its value."""
        return self.convert is _as_secret


@dataclass_transform(kw_only_default=True, frozen_default=True)
def option_group(group: type[Value]) -> type[Value]:
    """Decorate a class of settings that is only ever a base of one that has them all.

    It is a dataclass without the methods that dataclasses are given at some cost.
    """
    return dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)(group)


def options_of(group: type) -> list[Option]:
    """Return the options that a dataclass declares itself, in the order of their declaration."""
    own = get_annotations(group)
    return [_option(each) for each in fields(group) if each.name in own]


def whole_number(default: int, help_: str, *, minimum: int = 1, maximum: int | None = None) -> int:
    """Declare a setting that is a whole number, from `minimum` to `maximum`."""
    bounds = f"greater than {minimum - 1}" if maximum is None else f"from {minimum} to {maximum}"

    def convert(value: object) -> int:
        number = _as_integer(value)
        if number is None or number < minimum or (maximum is not None and number > maximum):
            raise ValueError(f"must be a whole number {bounds}")
        return number

    return _declare(default, _Declared(help=help_, convert=convert, metavar="N"))


def choice(default: Value, choices: Callable[[], Sequence[str]], help_: str) -> Value:
    """Declare a setting that is one of some words, which are looked up when they are needed."""

    def convert(value: object) -> str:
        *others, last = choices()
        if value not in (*others, last):
            raise ValueError(f"must be {', '.join(map(repr, others))} or {last!r}")
        return str(value)

    metavar = f"{{{','.join(choices())}}}"
    return _declare(default, _Declared(help=help_, convert=convert, metavar=metavar))


def text(
    default: Value, help_: str, *, metavar: str, check: Callable[[str], None] | None = None,
    default_text: str | None = None,
) -> Value:  # fmt: skip
    """Declare a setting that is a text.

    Args:
        default: its default.
        help_: what it sets.
        metavar: what stands for it in the help.
        check: raises `ValueError` if the text is not one that is possible.
        default_text: the default as people read it.
    """

    def convert(value: object) -> str:
        if check is not None:
            check(str(value))
        return str(value)

    declared = _Declared(help=help_, convert=convert, metavar=metavar, default_text=default_text)
    return _declare(default, declared)


def file(default: Value, help_: str) -> Value:
    """Declare a setting that names a file; None as the default: there is none."""
    convert = cast("Callable[[object], Path]", Path)
    return _declare(default, _Declared(help=help_, convert=convert, metavar="FILE"))


def words(normal: Callable[[str], str], help_: str, *, metavar: str) -> tuple[str, ...]:
    """Declare a setting that is a list, whose members stand between commas; it is empty by default.

    Args:
        normal: returns a member in the form in which it is compared; raises `ValueError` if it is
            not one that is possible.
        help_: what it sets.
        metavar: what stands for a member in the help.
    """

    def convert(value: object) -> tuple[str, ...]:
        members = str(value).split(",") if isinstance(value, str) else cast("Sequence[str]", value)
        return tuple(normal(each.strip()) for each in members)

    declared = _Declared(help=help_, convert=convert, metavar=metavar, default_text="none")
    return _declare((), declared)


def secret(help_: str, *, metavar: str) -> Secret | None:
    """Declare a setting that is a text nobody may see; there is none by default."""
    return _declare(None, _Declared(help=help_, convert=_as_secret, metavar=metavar))


def _declare(default: Value, declared: _Declared) -> Value:
    # For whoever checks types it is the value that the setting has.
    return field(default=default, metadata={_METADATA: declared})


def _option(of: "Field[Any]") -> Option:
    declared: _Declared = of.metadata[_METADATA]
    unit = of.name.rsplit("_", 1)[-1]
    return Option(
        name=of.name,
        default=of.default,
        help=declared.help,
        metavar=unit.upper() if declared.metavar == "N" and unit in _UNITS else declared.metavar,
        default_text=declared.default_text or ("none" if of.default is None else str(of.default)),
        convert=declared.convert,
    )


def _as_secret(value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(str(value))


def _as_integer(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        # 5.0 is 5, as it always was.
        return int(re.sub(r"\.0*\s*$", "", str(value)))
    except ValueError:
        return None
