"""Origins and hosts: what browsers write, and what is given as a setting."""

import pytest

from aggregator.settings.command_line import Parser, read_settings
from aggregator.settings.model import Settings
from aggregator.settings.origins import names_loopback
from aggregator.settings.storage import WrongSetting


def read(*arguments: str, **environment: str) -> Settings:
    parser = Parser("aggregator", usage="", description="")
    return read_settings(Settings, parser, arguments, environment)


def test_lists_are_empty_by_default() -> None:
    assert (read().allow_origin, read().allowed_host) == ((), ())


def test_a_list_may_be_repeated_or_have_commas() -> None:
    settings = read(
        "--allow-origin", "https://a.example", "--allow-origin", "http://b.example:81, http://c"
    )
    assert settings.allow_origin == ("https://a.example", "http://b.example:81", "http://c")
    settings = read(AGGREGATOR_ALLOWED_HOST="a.example,b", AGGREGATOR_ALLOW_ORIGIN="http://c")
    assert (settings.allowed_host, settings.allow_origin) == (("a.example", "b"), ("http://c",))


def test_an_empty_list_is_none() -> None:
    assert read("--allow-origin", "", AGGREGATOR_ALLOWED_HOST="").allow_origin == ()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[0::1]:3000", "http://[::1]:3000"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
    ],
)
def test_an_origin_is_kept_as_a_browser_writes_it(given: str, meant: str) -> None:
    assert read("--allow-origin", given).allow_origin == (meant,)


@pytest.mark.parametrize(
    "given",
    ["*", "null", "app.example", "https://app.example/", "https://*.example", "https://a@b", "a,",
     "https://a:70000", "https://[::x]", "https://"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_in_one_sentence(given: str) -> None:
    with pytest.raises(WrongSetting, match="--allow-origin: must be origins, as https://app"):
        read("--allow-origin", given)


@pytest.mark.parametrize(
    ("given", "meant"), [("Log.Example.", "log.example"), ("::1", "::1"), ("[::1]", "::1")]
)
def test_a_host_is_kept_in_small_letters(given: str, meant: str) -> None:
    assert read("--allowed-host", given).allowed_host == (meant,)


@pytest.mark.parametrize("given", ["*", "*.example", "log.example:80", "http://log.example", "a b"])
def test_what_is_no_host_is_refused_in_one_sentence(given: str) -> None:
    with pytest.raises(WrongSetting, match="--allowed-host: must be names of hosts"):
        read("--allowed-host", given)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("localhost", True),
        ("localhost.", True),
        ("a.b.localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_these_names_are_of_loopback_addresses(name: str, is_one: bool) -> None:
    assert names_loopback(name) is is_one
