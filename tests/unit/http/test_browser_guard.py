"""The guard against pages in browsers, on connections that the contract's tests can't make."""

import pytest
from multidict import CIMultiDict

from aggregator.http.browser_guard import Arrival, BrowserGuard, ForeignHost, FromAnotherSite

NEAR = Arrival("GET", secure=False, loopback=True, tells_data=True)
FAR = NEAR._replace(loopback=False)
GUARD = BrowserGuard()


def check(arrival: Arrival, **headers: str) -> None:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    GUARD.check(arrival, named, lambda: False)


def test_any_host_may_be_named_beyond_loopback() -> None:
    headers = {"Host": "log.example", "User_Agent": "Mozilla/5.0"}
    check(FAR, **headers)
    with pytest.raises(ForeignHost):
        check(NEAR, **headers)


def test_pages_of_other_sites_are_refused_beyond_loopback_as_well() -> None:
    with pytest.raises(FromAnotherSite):
        check(FAR, Host="log.example", Origin="https://evil.example")


@pytest.mark.parametrize("host", ["log.example", "log.example:443"])
def test_with_tls_of_its_own_a_page_without_is_of_another_origin(host: str) -> None:
    secure = FAR._replace(secure=True)
    check(secure, Host=host, Origin="https://log.example")
    for origin in ("http://log.example", "http://log.example:443"):
        with pytest.raises(FromAnotherSite):
            check(secure, Host=host, Origin=origin)


@pytest.mark.parametrize("name", ["Origin", "Cookie", "Sec-Fetch-User", "Sec-Fetch-Storage-Access"])
def test_each_header_of_browsers_makes_the_host_count(name: str) -> None:
    check(NEAR, Host="evil.test")
    value = "http://evil.test" if name == "Origin" else "same-origin"
    with pytest.raises(ForeignHost):
        check(NEAR, **{"Host": "evil.test", name: value})


def test_a_request_without_a_host_has_no_origin_of_its_own() -> None:
    with pytest.raises(FromAnotherSite):
        check(FAR, Origin="http://log.example")


def test_of_two_hosts_neither_counts() -> None:
    headers = CIMultiDict([("Host", "localhost"), ("Host", "localhost"), ("Cookie", "a=b")])
    with pytest.raises(ForeignHost):
        GUARD.check(NEAR, headers, lambda: False)
    headers["Origin"] = "http://localhost"
    with pytest.raises(FromAnotherSite):
        GUARD.check(NEAR, headers, lambda: False)
