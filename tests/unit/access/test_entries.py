"""Rights of an entry, by a model that knows of them what the page says."""

from hypothesis import given
from hypothesis import strategies as st
from unit.access.rights import LISTS, NAMES, PATTERNS, fits_any

from aggregator.access.entries import Digest, Entry
from aggregator.access.patterns import Patterns

_TIMES = st.none() | st.integers(1, 5)


@given(
    LISTS,
    LISTS,
    LISTS,
    st.booleans(),
    st.booleans(),
    st.none() | st.sampled_from(["shop", "till"]),
    NAMES,
    PATTERNS,
)
def test_rights_are_those_of_the_lists_and_an_admin_has_all(
    publish: tuple[str, ...],
    read: tuple[str, ...],
    subscribe: tuple[str, ...],
    admin: bool,
    metrics: bool,
    source: str | None,
    name: str,
    pattern: str,
) -> None:
    entry = Entry(
        name="shop",
        publish=publish,
        read=read,
        subscribe=subscribe,
        admin=admin,
        metrics=metrics,
        source=source,
    )
    assert entry.may_publish(name) == (admin or fits_any(publish, name))
    assert entry.may_read(name) == (admin or fits_any(read, name))
    assert entry.may_subscribe(name) == (admin or fits_any(subscribe, name))
    assert entry.may_publish_anything == (admin or len(publish) > 0)
    assert entry.may_read_anything == (admin or len(read) > 0)
    assert entry.may_subscribe_anything == (admin or len(subscribe) > 0)
    assert entry.may_metrics == (admin or metrics)
    assert entry.is_admin == admin
    assert entry.may_publish_as("shop") == (source != "till")
    assert entry.may_publish_as("till") == (source != "shop")
    assert entry.covers_read(pattern) == (admin or Patterns(read).covers(pattern))


@given(_TIMES, _TIMES)
def test_entry_ends_for_a_token_when_the_first_of_both_ends(
    of_entry: int | None, of_digest: int | None
) -> None:
    digest = Digest(bytes(32), of_digest)
    entry = Entry(name="shop", digests=(digest,), expires_us=of_entry)
    times = [time for time in (of_entry, of_digest) if time is not None]
    assert entry.expires_with(digest) == min(times, default=None)
    assert entry.expires_with(None) == of_entry


def test_entry_without_rights_may_do_nothing() -> None:
    entry = Entry(name="shop")
    assert not entry.may_publish("orders")
    assert not entry.may_read("orders")
    assert not entry.may_subscribe("billing")
    assert not entry.covers_read("orders")
    assert not entry.may_metrics
