"""What an exchange asks of the world. Each is answered by one event; see drive/ for who performs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluicegate.core.limits.lender import Want
    from sluicegate.core.pool import Member
    from sluicegate.core.route import Route

ABORT = 0.0
"""`on_gone` of Send and Relay: cancel the upstream when the client leaves."""


class Read:
    """Read the request body, `100 Continue` first where it was asked for. Answer: Body, Refused or Gone.

    `max_bytes`: of a body that is held, `upload`: of a form that is passed on while it is read. The Body of a form
    comes when what decides is known; `whole`: when all of it is.
    """

    __slots__ = ("max_bytes", "upload", "whole")

    def __init__(self, max_bytes: int, upload: int = 0, whole: bool = False) -> None:
        self.max_bytes = max_bytes
        self.upload = upload
        self.whole = whole


class Ask:
    """Ask the keeper: for more of limits that are shared with other workers (core/limits/lender.py), or for the groups
    of who bears `token`, where these are kept elsewhere (core/ports.py: Groups). Nothing is held meanwhile. Answer:
    Answered, in the same call where there is nobody to ask; or Gone."""

    __slots__ = ("token", "wants")

    def __init__(self, wants: Sequence[Want], token: bytes = b"") -> None:
        self.wants = wants
        self.token = token


class Wait:
    """Stand in a gate until it grants or `until` (monotonic) passes. A wait holds no reservation. Answer: Resumed."""

    __slots__ = ("gate", "until")

    def __init__(self, gate: Any, until: float) -> None:
        self.gate = gate
        self.until = until


class Send:
    """Send the request to one member. Answer: Responded, Failed or Gone. A `Send` gives up the attempt before it.

    `on_gone`: ABORT cancels the upstream when the client leaves; else the seconds it may go on without the client.
    `deadline`: monotonic end of all attempts together (`timeouts.total`).
    `changes`: JSON values to put into top-level fields of the body, by name; None: it goes up as it came.
    """

    __slots__ = ("changes", "deadline", "member", "on_gone", "route")

    def __init__(
        self, member: Member, route: Route, deadline: float, on_gone: float, changes: dict[str, bytes] | None = None
    ) -> None:
        self.changes = changes
        self.member = member
        self.route = route
        self.deadline = deadline
        self.on_gone = on_gone


class Relay:
    """Commit the answer just responded and carry it to the client. Answer: Ended (or Turn, then Relay again).

    `taps` come after the meter and may hold bytes back; `()` costs nothing. `headers`: what is left of the client's
    own limits, instead of the deployment's; `notes`: other response headers of ours. Lines, each ended by CRLF.
    `platform`: what Azure says of its own spillover passes. `timed`: one line more says what the gateway added to the
    time of the answer's first byte.
    """

    __slots__ = ("headers", "notes", "on_gone", "platform", "taps", "timed")

    def __init__(
        self,
        on_gone: float,
        headers: bytes = b"",
        taps: Sequence[Any] = (),
        notes: bytes = b"",
        platform: bool = False,
        timed: bool = False,
    ) -> None:
        self.on_gone = on_gone
        self.headers = headers
        self.taps = taps
        self.notes = notes
        self.platform = platform
        self.timed = timed


class Cut:
    """End a relayed stream with an error event of its dialect. Answer: Ended."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Reply:
    """Answer by ourselves, in the client's dialect. The last action of an exchange; it is not answered.

    `reason` is the stable dotted name; status and retry rules come from core/refusals.py, never from here.
    `retry_after`: seconds, None where nothing will change. `headers`: further lines, each ended by CRLF.
    """

    __slots__ = ("headers", "message", "reason", "retry_after")

    def __init__(self, reason: str, message: str, retry_after: float | None = None, headers: bytes = b"") -> None:
        self.headers = headers
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Defer:
    """Hand the request to the job queue and answer 202. Later."""

    __slots__ = ("job",)

    def __init__(self, job: Any) -> None:
        self.job = job


class Mirror:
    """Send a copy to another member without effect on the client. Later."""

    __slots__ = ("member",)

    def __init__(self, member: Member) -> None:
        self.member = member


Action = Read | Ask | Wait | Send | Relay | Cut | Reply | Defer | Mirror
