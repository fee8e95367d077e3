"""Who a request comes from: tokens, certificates, neither, and what counts no more."""

import base64
import hmac
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.access import authority
from aggregator.access.authority import MAX_CACHED, Access, Identity, Reason, Unauthorized
from aggregator.access.entries import Digest, Entry
from aggregator.access.tokens import digest_of, new_token

TOKEN, OTHER, UNKNOWN = new_token(), new_token(), new_token()
SHOP = Entry(
    name="shop",
    digests=(Digest(digest_of(TOKEN)), Digest(digest_of(OTHER), 20)),
    publish=("orders",),
    expires_us=30,
    certificate="DNS:shop",
)
TILL = Entry(name="till", certificate="CN:till")
EVERYBODY = Entry(name="anonymous", read=("public",))


def bearer(token: str) -> list[str]:
    return [f"Bearer {token}"]


def refused(
    access: Access,
    authorization: Sequence[str],
    now_us: int = 10,
    certificate_names: Sequence[str] = (),
) -> Unauthorized:
    with pytest.raises(Unauthorized) as raised:
        access.identify(authorization, certificate_names, now_us)
    for token in TOKEN, OTHER, UNKNOWN:
        assert token[4:] not in str(raised.value)
    return raised.value


def test_token_is_that_of_its_entry() -> None:
    access = Access([TILL, SHOP])
    identity = access.identify(bearer(TOKEN), (), 10)
    assert (identity.entry, identity.name, identity.expires_us) == (SHOP, "shop", 30)
    assert access.identify(bearer(OTHER), (), 10).expires_us == 20
    assert digest_of(TOKEN).hex() not in repr(identity)
    assert repr(digest_of(TOKEN)) not in repr(identity).replace(repr(SHOP), "")


@pytest.mark.parametrize("scheme", ["bearer ", "BEARER ", "bEaReR    "])
def test_scheme_is_read_in_any_case(scheme: str) -> None:
    assert Access([SHOP]).identify([scheme + TOKEN], (), 10).entry is SHOP


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Bearer{TOKEN}",
        f"Bearer\t{TOKEN}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        f"Bearer {TOKEN}\udcff",
        f"Bearer {TOKEN}é",
        f"Basic {base64.b64encode(TOKEN.encode()).decode()}",
        f"Token {TOKEN}",
        f"Bearer\u00a0{TOKEN}",
        f"Bearer {TOKEN}\u017f",
    ],
    # The names of tests must be the same in every process.
    ids=lambda _: "header",
)
def test_malformed_header_is_unauthorized_though_anonymous_is_there(header: str) -> None:
    assert refused(Access([SHOP, EVERYBODY]), [header]).reason is Reason.MALFORMED


def test_two_headers_are_unauthorized_though_each_is_good() -> None:
    error = refused(Access([SHOP, EVERYBODY]), [*bearer(TOKEN), *bearer(TOKEN)])
    assert error.reason is Reason.MALFORMED


def test_unknown_mistyped_and_expired_tokens_are_told_apart() -> None:
    access = Access([SHOP, EVERYBODY])
    assert refused(access, bearer(UNKNOWN)).reason is Reason.UNKNOWN
    assert refused(access, bearer("eyJhbGciOiJub25lIn0.e30.")).reason is Reason.UNKNOWN
    assert refused(access, bearer(TOKEN[:-1])).reason is Reason.MISTYPED
    assert refused(access, bearer(TOKEN[:9] + TOKEN[10] + TOKEN[9] + TOKEN[11:])).reason in {
        Reason.MISTYPED,
        Reason.UNKNOWN,
    }
    error = refused(access, bearer(OTHER), 20)
    assert error.reason is Reason.EXPIRED
    assert str(error) == "the token of 'shop' expired at 1970-01-01T00:00:00.000020Z"


def test_anonymous_is_who_comes_without_a_credential() -> None:
    assert refused(Access([SHOP]), []).reason is Reason.MISSING
    access = Access([SHOP, EVERYBODY])
    assert access.identify([], (), 10).entry is EVERYBODY
    assert access.identify([], ["DNS:nobody"], 10).entry is EVERYBODY
    ended = Access([Entry(name="anonymous", expires_us=10)])
    assert refused(ended, []).reason is Reason.EXPIRED


def test_certificate_is_compared_exactly_and_a_token_wins_over_it() -> None:
    access = Access([SHOP, TILL])
    identity = access.identify([], ["DNS:other", "CN:till", "DNS:shop"], 10)
    assert (identity.entry, identity.certificate, identity.digest) == (TILL, "CN:till", None)
    for name in "DNS:Shop", "DNS:shop.", "CN:shop", "shop", "":
        assert refused(access, [], 10, [name]).reason is Reason.MISSING
    assert access.identify(bearer(TOKEN), ["CN:till"], 10).entry is SHOP
    assert refused(access, bearer(UNKNOWN), 10, ["CN:till"]).reason is Reason.UNKNOWN
    assert refused(access, [], 30, ["DNS:shop"]).reason is Reason.EXPIRED


def test_remembered_outcome_ends_when_the_token_expires() -> None:
    access = Access([SHOP])
    assert access.identify(bearer(OTHER), (), 19) is access.identify(bearer(OTHER), (), 10)
    assert refused(access, bearer(OTHER), 20).reason is Reason.EXPIRED
    # A clock that is set back makes it count again, as it does for who comes first.
    assert access.identify(bearer(OTHER), (), 19).entry is SHOP


def test_remembered_outcome_ends_when_the_entries_change() -> None:
    access = Access([SHOP])
    before = access.identify(bearer(TOKEN), (), 10)
    narrower = Entry(name="shop", digests=SHOP.digests)
    access.replace([narrower])
    after = access.identify(bearer(TOKEN), (), 10)
    assert (before.generation, after.generation) == (0, 1)
    assert after.entry is narrower
    access.replace([])
    assert refused(access, bearer(TOKEN)).reason is Reason.UNKNOWN


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = 0

    def counted(token: str) -> bytes:
        nonlocal digests
        digests += 1
        return digest_of(token)

    monkeypatch.setattr(authority, "digest_of", counted)
    access = Access([SHOP])
    for spaces in range(1, 400):
        assert access.identify([f"Bearer{' ' * spaces}{TOKEN}"], (), 10).entry is SHOP
    assert max(map(len, access._cache)) <= 256
    digests = 0
    for _ in range(3):
        access.identify(bearer(TOKEN), (), 10)
    assert digests == 0
    access._cache |= dict.fromkeys(map(str, range(MAX_CACHED)), access._cache[f"Bearer {TOKEN}"])
    access._cache = dict(list(access._cache.items())[-MAX_CACHED:])
    access.identify(bearer(OTHER), (), 10)
    assert len(access._cache) == MAX_CACHED
    for _ in range(3):
        refused(access, bearer(UNKNOWN))
    assert bearer(UNKNOWN)[0] not in access._cache


def test_digest_that_is_found_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def never(shown: bytes, kept: bytes) -> bool:
        compared.append((shown, kept))
        return False

    monkeypatch.setattr(hmac, "compare_digest", never)
    access = Access([SHOP])
    for token in TOKEN, UNKNOWN:
        assert refused(access, bearer(token)).reason is Reason.UNKNOWN
    assert compared == [
        (digest_of(TOKEN), digest_of(TOKEN)),
        (digest_of(UNKNOWN), bytes(32)),
    ]


@given(
    st.lists(
        st.text(max_size=80)
        | st.builds(
            "{}{}{}".format,
            st.sampled_from(["Bearer ", "bearer  ", "Bearer\t", "Basic ", ""]),
            st.sampled_from([TOKEN, UNKNOWN, "agr_", TOKEN[4:], "\udcff", "\x00", "a.b.c"]),
            st.text(max_size=3),
        ),
        min_size=1,
        max_size=3,
    )
)
@example(["Bearer " + "a" * 100_000])
@example(["Bearer " + " " * 100_000])
@example(["Bearer " + "=" * 100_000])
def test_any_header_is_the_token_or_unauthorized(authorization: list[str]) -> None:
    access = Access([SHOP, EVERYBODY])
    try:
        identity = access.identify(authorization, ["CN:till"], 10)
    except Unauthorized as error:
        assert TOKEN[4:] not in str(error)  # noqa: PT017 - it need not be raised
    else:
        assert identity.entry is SHOP
        assert len(authorization) == 1
        assert authorization[0].split() == [authorization[0].split()[0], TOKEN]


def found(access: Access) -> list[Identity]:
    return [
        access.identify(bearer(TOKEN), (), 10),
        access.identify(bearer(OTHER), (), 10),
        access.identify([], ["DNS:shop"], 10),
        access.identify([], (), 10),
    ]


def test_identity_holds_until_it_expires() -> None:
    access = Access([SHOP, EVERYBODY])
    by_token, by_other, by_certificate, anonymous = found(access)
    for generation in range(2):
        assert access.generation == generation
        assert access.still_holds(by_token, 29) == SHOP
        assert access.still_holds(by_token, 30) is None
        assert access.still_holds(by_other, 19) == SHOP
        assert access.still_holds(by_other, 20) is None
        assert access.still_holds(by_certificate, 29) == SHOP
        assert access.still_holds(by_certificate, 30) is None
        assert access.still_holds(anonymous, 1000) == EVERYBODY
        access.replace([SHOP, EVERYBODY])


def test_identity_that_was_removed_holds_no_more() -> None:
    access = Access([SHOP, EVERYBODY])
    identities = found(access)
    access.replace([TILL])
    assert [access.still_holds(each, 10) for each in identities] == [None] * 4
    access.replace([SHOP, EVERYBODY])
    assert access.still_holds(identities[0], 10) == SHOP


def test_identity_has_the_rights_that_its_credential_has_now() -> None:
    access = Access([SHOP, EVERYBODY])
    by_token, by_other, by_certificate, _ = found(access)
    renamed = Entry(name="shop-2", digests=SHOP.digests[:1], read=("orders",))
    other = Entry(name="shop", certificate="DNS:shop", expires_us=11)
    access.replace([renamed, other])
    assert access.still_holds(by_token, 1000) is renamed
    assert access.still_holds(by_other, 10) is None
    assert access.still_holds(by_certificate, 10) is other
    assert access.still_holds(by_certificate, 11) is None
    assert access.named("shop") is other
    assert access.named("till") is None
