"""The tokens file: what it says, and one sentence for whatever it can't say."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.access.entries import Digest, Entry, EntryLimits
from aggregator.access.tokens import new_token
from aggregator.access.tokens_file import MAX_FILE_BYTES, TokensFileBroken, load, parse

A, B = "a" * 64, "B" * 64
FILE = Path("tokens.toml")
WHOLE = f"""
[[entry]]
name = "shop"
sha256 = ["{A}", {{digest = "{B}", expires = 2026-01-31T13:00:00+01:00}}]
publish = ["orders", "payment.*"]
read = ["**"]
subscribe = ["billing"]
admin = true
metrics = false
source = "shop"
expires = "2027-01-31T12:00:00.5Z"
certificate = "DNS:shop.example"
events_per_second = 1000
bytes_per_second = 1_000_000
streams = 5
subscriptions = 0
new_topics_per_day = 10

[[entry]]
name = "anonymous"
read = ["public.**"]

[[entry]]
name = "/groups/readers"
expires = 1970-01-01T00:00:01
"""


def refusal(text: str) -> str:
    with pytest.raises(TokensFileBroken) as raised:
        parse(text.encode(), FILE)
    sentence = str(raised.value)
    start = "the tokens file 'tokens.toml' is broken: "
    assert sentence.startswith(start)
    assert "\n" not in sentence
    return sentence.removeprefix(start)


def test_every_field_becomes_its_value() -> None:
    shop, anonymous, readers = parse(WHOLE.encode(), FILE)
    assert shop == Entry(
        name="shop",
        digests=(
            Digest(bytes.fromhex(A)),
            Digest(bytes.fromhex(B), 1_769_860_800_000_000),
        ),
        publish=("orders", "payment.*"),
        read=("**",),
        subscribe=("billing",),
        admin=True,
        metrics=False,
        source="shop",
        expires_us=1_801_396_800_500_000,
        certificate="DNS:shop.example",
        limits=EntryLimits(1000, 1_000_000, 5, 0, 10),
    )
    assert anonymous == Entry(name="anonymous", read=("public.**",))
    assert readers == Entry(name="/groups/readers", expires_us=1_000_000)


def test_file_without_an_entry_lets_nobody_in() -> None:
    assert parse(b"# nobody\n", FILE) == ()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("publishes = []", "entry 'shop': 'publishes' is not known; there are name, sha256,"),
        ("agr_abc = 1", "entry 'shop': 'agr_…' is not known"),
        ("sha256 = 'abc'", "entry 'shop': sha256 must be a list, not 'abc'"),
        ("sha256 = ['abc']", "sha256 must be the SHA-256 of a token in 64 hexadecimal digits, not"),
        (f"sha256 = ['{A}0']", "64 hexadecimal digits, not 'aaaa"),
        (f"sha256 = ['{A[:-1]} ']", "64 hexadecimal digits"),
        ("sha256 = [1]", "64 hexadecimal digits, not 1"),
        (f"sha256 = [{{digest = '{A}', until = 1}}]", "sha256 has a table with 'until'"),
        ("sha256 = [{expires = 1}]", "sha256 has a table without a digest"),
        ("sha256 = [{digest = 'abc'}]", "64 hexadecimal digits, not 'abc'"),
        (
            f"sha256 = [{{digest = '{A}', expires = 'soon'}}]",
            "sha256 has a digest whose expires is not an RFC 3339 date-time",
        ),
        (f"sha256 = ['{A}', '{A.upper()}']", f"entry 'shop': sha256 has {A}, which entry 'shop'"),
        ("publish = 'orders'", "publish must be a list of names and patterns, not 'orders'"),
        ("publish = [1]", "publish must have names and patterns alone, not 1"),
        ("publish = ['a*']", "entry 'shop': publish must be the name of a topic, or a pattern"),
        ("read = ['**.a']", "not '**.a'"),
        ("subscribe = ['']", "subscribe must be 1 to 249 characters"),
        ("admin = 1", "admin must be true or false, not 1"),
        ("metrics = 'yes'", "metrics must be true or false, not 'yes'"),
        ("source = ''", "source must be 1 to 256 characters"),
        ("source = 1", "source must be a text, not 1"),
        ("expires = 2026-01-31", "expires must be a date-time such as 2026-01-31T12:00:00Z, not"),
        ("expires = 90", "expires must be a date-time such as 2026-01-31T12:00:00Z, not 90"),
        ("expires = 'in a year'", "not an RFC 3339 date-time such as 2026-01-31T12:00:00Z: 'in a"),
        ("expires = 0001-01-01T00:00:00+01:00", "is outside the years 1 to 9999"),
        ("certificate = 'shop.example'", "certificate must be a name with its kind, DNS:…, URI:…"),
        ("certificate = 'DNS:'", "certificate must be a name with its kind"),
        ("certificate = 1", "certificate must be a name with its kind"),
        ("events_per_second = 0", "events_per_second must be a whole number of at least 1, not 0"),
        ("bytes_per_second = -1", "entry 'shop': bytes_per_second must be a whole number of at"),
        ("streams = -1", "streams must be a whole number of at least 0, not -1"),
        ("subscriptions = 1.5", "subscriptions must be a whole number of at least 0, not 1.5"),
        ("new_topics_per_day = true", "new_topics_per_day must be a whole number of at least 0"),
        (f"streams = {'9' * 4000}", "streams must be a whole number of at least 0, not a larger"),
        ("[[entry]]\nname = 'shop'", "entry 'shop' is there twice"),
        ("[[entry]]\nread = []", "entry 2 has no name"),
        ("[[entry]]\nname = 7", "entry 2: name must be a text, not 7"),
        ("[[entry]]\nname = ''", "entry 2: name must be 1 to 256 characters"),
        ("[[entry]]\nname = 'jwt:ann'", "entry 2: name must not begin with 'jwt:'"),
        (
            f"sha256 = ['{A}']\n[[entry]]\nname = 'till'\nsha256 = ['{A}']",
            f"entry 'till': sha256 has {A}, which entry 'shop' has",
        ),
        (
            "certificate = 'CN:a'\n[[entry]]\nname = 'till'\ncertificate = 'CN:a'",
            "entry 'till': certificate 'CN:a' is that of entry 'shop'",
        ),
        (
            f"[[entry]]\nname = 'anonymous'\nsha256 = ['{A}']",
            "entry 'anonymous' is for those without a credential, and can have no sha256",
        ),
        ("[entries]", "it has 'entries', where [[entry]] alone is known"),
        ("name", "it is not TOML: "),
        (f"read = {'[' * 5000}{']' * 5000}", "it is not TOML: it nests too deep"),
        (f"streams = {'9' * 5000}", "it is not TOML: "),
    ],
    ids=lambda text: str(text)[:50],
)
def test_broken_file_is_one_sentence_with_entry_and_value(line: str, sentence: str) -> None:
    assert sentence in refusal(f"[[entry]]\nname = 'shop'\n{line}\n")


@pytest.mark.parametrize("text", ["entry = 1", "entry = [1]", "[entry]\nname = 'shop'"])
def test_entries_that_are_no_tables_are_one_sentence(text: str) -> None:
    assert refusal(text) == "its entries must be tables that begin with [[entry]]"


def test_token_in_place_of_its_digest_is_not_repeated() -> None:
    token = new_token()
    for line in (
        f"sha256 = ['{token}']",
        f'source = "{token}\\u0000"',
        f"{token} = 1",
        f"[{token}]\n[{token}]",
    ):
        sentence = refusal(f"[[entry]]\nname = 'shop'\n{line}\n")
        assert token[4:] not in sentence
    assert "not a token itself" in refusal(f"[[entry]]\nname = 'shop'\nsha256 = ['{token}']\n")


@given(st.binary(max_size=60) | st.text("[entry]\n=\"'#{}a.1-", max_size=60).map(str.encode))
def test_any_content_is_entries_or_refused(content: bytes) -> None:
    with suppress(TokensFileBroken):
        parse(content, FILE)


def test_content_that_is_not_utf_8_is_one_sentence() -> None:
    with pytest.raises(TokensFileBroken, match=r"it is not UTF-8 at byte 2$"):
        parse(b"# \xff", FILE)


def test_file_that_can_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(
        TokensFileBroken, match=rf"^can't read the tokens file '{missing}': No such"
    ):
        load(missing)
    with pytest.raises(TokensFileBroken, match=r"it is not a regular file$"):
        load(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(TokensFileBroken, match=r"it is not a regular file$"):
        load(pipe)
    large = tmp_path / "large.toml"
    large.touch()
    os.truncate(large, MAX_FILE_BYTES + 1)
    with pytest.raises(TokensFileBroken, match=f"it has more than {MAX_FILE_BYTES} bytes$"):
        load(large)
    with pytest.raises(TokensFileBroken, match="null byte"):
        load(Path("a\0b"))


def test_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text(WHOLE)
    (tmp_path / "link.toml").symlink_to("real.toml")
    assert [entry.name for entry in load(tmp_path / "link.toml")] == [
        "shop",
        "anonymous",
        "/groups/readers",
    ]
