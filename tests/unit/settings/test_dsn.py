"""What is wrong with a DSN is told in one sentence that names its setting and not its password."""

import os
from urllib.parse import quote

import pytest
from support.command import environment

from aggregator.__main__ import main
from aggregator.settings.dsn import fault_of

SECRET = "hush4711"
ENCODE = "%40 %3A %2F %3F %23 %5B %5D %25"

FAULTS = [
    # A character of the password that means something else.
    *((f"postgresql://u:{SECRET}{c}x@127.0.0.1:5432/db", ENCODE) for c in "[]#/?@"),
    *((f"postgresql://u:{c}{SECRET}@127.0.0.1:5432/db", ENCODE) for c in "[]#/?@"),
    *((f"postgresql://u:12{c}{SECRET}@127.0.0.1:5432/db", ENCODE) for c in "[]#/?@"),
    (f"postgresql://u:{SECRET}@x[@h/db", ENCODE),
    (f"postgresql://u:{SECRET}[]@h/db", ENCODE),
    (f"postgresql://u:{SECRET}%zz/@h/db", ENCODE),
    (f"postgresql://u:{SECRET}/x=1@h", ENCODE),
    (f"postgresql://u:{SECRET}?x=1@h/db", ENCODE),
    (f"postgresql://u:{SECRET}\n1@h/db", ENCODE),
    (f"postgresql://u@r:{SECRET}@h/db", ENCODE),
    (f"postgresql://u:{SECRET}@h/d#b", ENCODE),
    (f"postgresql://u:{SECRET}@h/d@b", ENCODE),
    (f"postgresql://u:{SECRET}/db", ENCODE),
    (f"postgresql://u:{SECRET}", ENCODE),
    (f"postgresql://u:{SECRET}%00@h/db", "%00"),
    # Hosts and ports.
    (f"postgresql://u:{SECRET}@h:port/db", "a number from 1 to 65535"),
    (f"postgresql://u:{SECRET}@h:0/db", "a number from 1 to 65535"),
    (f"postgresql://u:{SECRET}@h:65536/db", "a number from 1 to 65535"),
    (f"postgresql://u:{SECRET}@a,h:x/db", "a number from 1 to 65535"),
    (f"postgresql://u:{SECRET}@[::1]:x/db", "a number from 1 to 65535"),
    (f"postgresql://u:{SECRET}@/db?host=h&port=x", "a number from 1 to 65535"),
    (f"postgresql://u:{SECRET}@[::1/db", "not closed"),
    (f"postgresql://u:{SECRET}@[db/x", "not closed"),
    (f"postgresql://u:{SECRET}@h]/db", "bracket"),
    (f"postgresql://u:{SECRET}@::1/db", "[::1]"),
    (f"postgresql://u:{SECRET}@a,,b/db", "an empty name"),
    (f"postgresql://u:{SECRET}@,b/db", "an empty name"),
    (f"postgresql://u:{SECRET}@/db?host=,b", "an empty name"),
    # What is behind the question mark.
    (f"postgresql://u:{SECRET}@h/db?sslmode", "name=value"),
    (f"postgresql://u:{SECRET}@h/db?sslmode=yes", "sslmode=yes; it must be one of disable, allow"),
    (f"postgresql://u:{SECRET}@h/db?target_session_attrs=rw", "one of any, primary"),
    (f"postgresql://u:{SECRET}@h/db?sslmode=verify-full&sslrootcert=/no/such.crt", "/no/such.crt"),
    # What it begins with.
    (f"mysql://u:{SECRET}@h/db", "postgresql://"),
    (f"postgresql:u:{SECRET}@h/db", "postgresql://"),
    (f"host=h password={SECRET}", "postgresql://"),
    (f"{SECRET}", "postgresql://"),
]

SOUND = [
    "postgresql://",
    "postgresql:///db",
    "postgres://h",
    "POSTGRESQL://h/db",
    "postgresql://u:p@h/db\n",
    "postgresql://u:p:q@h:5432/db",
    "postgresql://u:p%zz@h/db",
    "postgresql://u:p@a:1,b,[::1]:3,%2Ftmp/db",
    "postgresql://u:p@[fe80::1%25eth0]/db",
    "postgresql://u@/db?host=/tmp&port=5433",
    "postgresql://u@/db?host=/tmp,h&port=1,2",
    "postgresql://h/db?user=a@b&password=x",
    "postgresql://h/db?sslmode=verify-full&target_session_attrs=read-write",
    "postgresql://h/db?application_name=x",
]


@pytest.mark.parametrize(("dsn", "words"), FAULTS)
def test_a_fault_is_named_without_the_password(dsn: str, words: str) -> None:
    fault = fault_of(dsn)
    assert fault is not None
    assert words in fault
    assert SECRET not in fault
    assert "\n" not in fault


@pytest.mark.parametrize("dsn", SOUND)
def test_what_the_driver_understands_is_no_fault(dsn: str) -> None:
    assert fault_of(dsn) is None


@pytest.mark.parametrize("code", range(1, 128))
def test_a_password_is_sound_once_it_is_encoded(code: int) -> None:
    assert fault_of(f"postgresql://u:{quote(f'a{chr(code)}b', safe='')}@h/db") is None


@pytest.mark.parametrize("command", [[], ["verify"]])
@pytest.mark.parametrize("where", ["--dsn", "AGGREGATOR_DSN", "DATABASE_URL"])
def test_the_sentence_names_the_setting(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    command: list[str],
) -> None:
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    dsn = f"postgresql://u:p[{SECRET}@h/db"
    arguments = [where, dsn] if where.startswith("--") else []
    if not arguments:
        monkeypatch.setenv(where, dsn)
    with pytest.raises(SystemExit) as caught:
        main([*command, *arguments])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"aggregator: the DSN in {where} can't be taken apart: ")
    assert SECRET not in told
    assert told.count("\n") == 1
