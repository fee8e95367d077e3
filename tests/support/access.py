"""Access control in tests: a tokens file with entries, and the tokens that they have."""

import json
from pathlib import Path

from aggregator.access.tokens import digest_of, new_token


class TokensFile:
    """A tokens file that a test writes.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, dict[str, object]] = {}
        self._tokens: dict[str, str] = {}
        self.write()

    def give(self, name: str, **fields: object) -> str:
        """Give an entry fields besides its name and digest; return its token."""
        token = self._tokens.setdefault(name, new_token())
        self._entries[name] = {"sha256": [digest_of(token).hex()], **fields}
        self.write()
        return token

    def take_away(self, name: str) -> None:
        """Take an entry away."""
        del self._entries[name]
        self.write()

    def write(self) -> None:
        """Write the file anew."""
        text = ""
        for name, fields in self._entries.items():
            # A list or a text of JSON is one of TOML.
            lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
            text += "\n".join(["[[entry]]", f'name = "{name}"', *lines, "", ""])
        self.path.write_text(text)


def bearer(token: str) -> dict[str, str]:
    """The headers of a request with a token."""
    return {"Authorization": f"Bearer {token}"}
