"""Places outside the gateway that something is sent to: their addresses, and what happens when one is gone."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from sluicegate.core.secret import Secret
from sluicegate.spec.addresses import Endpoint
from sluicegate.spec.kinds import Word
from sluicegate.spec.references import Wrong
from sluicegate.spec.units import DAY, Duration


class Hook(Word):
    """Where something is posted: an address that may hold a token, so it is never shown whole."""

    pattern = r"https?://\S+|\$\{.*"
    hidden = True
    _longest = 2048

    def says(self) -> str:
        return "an address such as https://hooks.contoso.example/alerts, or a reference to one: ${env:NAME}"

    def meant(self, text: str, referred: bool) -> Secret:
        if "?" in text and not referred:
            raise Wrong("has a query, which may be a secret", "write a reference: ${env:NAME} or ${file:/path}")
        return Secret(self.parse(text))

    def parse(self, text: str) -> str:
        """The address, as it is called."""
        if len(text) > self._longest or not re.fullmatch(r"https?://[\x21-\x7e]+", text):
            raise Wrong("is not an address that can be called", f"write {self.says()}")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise Wrong("is not an address that can be called", f"write {self.says()}") from None
        if parts.fragment or "@" in parts.netloc:
            raise Wrong("has a user or a # in it", "write the address without them")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        Endpoint().parse(f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}")
        return text

    def write(self, value: Secret) -> str:
        """What may be shown of it: the place, not what is asked of it."""
        parts = urlsplit(value.reveal())
        return f"{parts.scheme}://{parts.netloc}/***"


class Lost(Word):
    """What happens to that which cannot be delivered: it is let go, or kept for a time."""

    pattern = r"open|spool [0-9.]+ ?(ms|s|m|h|d)"

    def says(self) -> str:
        return "open, or spool and a time such as spool 1h"

    def parse(self, text: str) -> float:
        if text == "open":
            return 0.0
        if text == "closed":
            raise Wrong("would hold up requests for want of somebody to tell", f"write {self.says()}")
        word, _, time = text.partition(" ")
        if word != "spool" or not time:
            raise Wrong("is not known here", f"write {self.says()}")
        value: float = Duration(least=1, most=30 * DAY).parse(time.strip())
        return value

    def write(self, value: float) -> str:
        return f"spool {Duration().write(value)}" if value else "open"
