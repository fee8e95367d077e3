"""The check of an aggregator's URL."""

from yarl import URL


def check_base_url(url: str) -> None:
    """Check that a text is the URL of an aggregator, without a path of its interface.

    Raises:
        ValueError: it is none; one sentence.
    """
    try:
        parsed = URL(url)
        is_base = parsed.scheme in {"http", "https"} and bool(parsed.host)
    except (ValueError, TypeError):
        is_base = False
    if not is_base or "?" in url or "#" in url:
        raise ValueError(
            f"{url!r} is not an http or https URL such as http://127.0.0.1:8080, without ? and #"
        )
