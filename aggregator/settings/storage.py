"""The settings that name a database, which `serve` and `verify` have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from aggregator.settings.dsn import fault_of
from aggregator.settings.option import Option, Secret, choice, file, options_of, secret, text
from storage.backends import BACKENDS, Backend

_AUTO = "auto"
_WITHOUT_DSN, _WITH_DSN = "sqlite", "postgres"
"""The backends that `auto` means."""

_LONGEST_NAME_BYTES = 63
"""Postgres cuts off what is longer."""


class WrongSetting(ValueError):
    """A setting has a value that can't be used; the message is one sentence without secrets."""


def _check_schema(name: str) -> None:
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError("a schema has a name in UTF-8") from None
    if not 0 < size_bytes <= _LONGEST_NAME_BYTES or "\0" in name:
        raise ValueError(f"a schema has a name of 1 to {_LONGEST_NAME_BYTES} bytes")
    if name.startswith("pg_") or name == "information_schema":
        raise ValueError("this schema belongs to Postgres itself")


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Settings, checked, whose first group names a database.

    They are made by `from_values`, which knows what was given and what is a default.
    """

    title: ClassVar[str] = "where events are stored"

    backend: str = choice(
        _AUTO,
        lambda: (_AUTO, *BACKENDS),
        "auto: postgres if a DSN is given, else sqlite",
    )
    database: Path = file(Path("aggregator.db"), "the SQLite file")
    dsn: Secret | None = secret(
        "the Postgres database: postgresql://user:password@host:port/name", metavar="URI"
    )
    schema: str | None = text(
        None,
        "the Postgres schema that has the log, or is to have it; it is made if there is none",
        metavar="NAME",
        check=_check_schema,
        default_text="the first of the role's search_path",
    )

    @classmethod
    def groups(cls) -> dict[str, list[Option]]:
        """Return the options by the title of their group, in the order in which they are shown."""
        groups = (each for each in cls.__mro__ if "title" in vars(each))
        return {vars(each)["title"]: options_of(each) for each in groups}

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Return every option by the name of its setting."""
        return {each.name: each for options in cls.groups().values() for each in options}

    @classmethod
    def from_values(
        cls, values: Mapping[str, object], origins: Mapping[str, str] | None = None
    ) -> Self:
        """Make settings from values by name, each a text to be converted or what it converts to.

        Args:
            values: the values that are given; a setting without one, or with None, has its default.
            origins: where a value comes from, by name, for the sentence about one that is wrong.

        Returns:
            The settings, checked; `backend` is no longer "auto".

        Raises:
            WrongSetting: a value is wrong, or they do not go together.
        """
        origins = origins or {}
        options = cls.options()
        converted: dict[str, Any] = {}
        for name, value in values.items():
            if value is None:
                continue
            option = options[name]
            try:
                converted[name] = option.convert(value)
            except ValueError as error:
                raise WrongSetting(_sentence(option, value, error, origins.get(name))) from None
        settings = cls(**(converted | {"backend": _chosen(converted).name}))
        settings._check(origins.get("dsn", "--dsn"))
        return settings

    @property
    def chosen_backend(self) -> Backend:
        """The entry of the table of backends that `backend` names."""
        return BACKENDS[self.backend]

    def _check(self, dsn_origin: str) -> None:
        if not self.chosen_backend.is_file:
            if self.dsn is None:
                raise WrongSetting(
                    f"the backend {self.backend} needs --dsn (or AGGREGATOR_DSN, DATABASE_URL)"
                )
            fault = fault_of(self.dsn.get_secret_value())
            if fault is not None:
                raise WrongSetting(f"the DSN in {dsn_origin} {fault}")
        elif self.schema is not None:
            raise WrongSetting("--schema is of a Postgres database, and no DSN is given")
        elif str(self.database).startswith(":memory:"):
            raise WrongSetting("--database :memory: would lose every event; give a file")


@dataclass(frozen=True, kw_only=True)
class VerifySettings(StorageSettings):
    """What `verify` needs to know."""


def _chosen(given: Mapping[str, object]) -> Backend:
    name = str(given.get("backend", _AUTO))
    if name != _AUTO:
        return BACKENDS[name]
    has_dsn = given.get("dsn") is not None
    if has_dsn and "database" in given:
        raise WrongSetting("both a DSN and a database file are given; choose with --backend")
    return BACKENDS[_WITH_DSN if has_dsn else _WITHOUT_DSN]


def _sentence(option: Option, value: object, error: ValueError, origin: str | None) -> str:
    shown = "" if option.is_secret else f", not {value!r}"
    where = f" (from {origin})" if origin not in (None, option.flag) else ""
    return f"{option.flag}: {error}{shown}{where}"
