"""The `sluicegate` program: its verbs, and what each needs of the living house. Nothing imports this file.

`serve` is the keeper: it reads the configuration, where the language and its libraries are loaded, and starts workers
as programs of their own. So the processes that carry traffic never had YAML or a validator in their memory.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from sluicegate import __version__
from sluicegate.cli.examples import shown

if TYPE_CHECKING:
    from sluicegate.admin.base import Route
    from sluicegate.core.booked import Settled
    from sluicegate.core.entry import Entry
    from sluicegate.core.kept import Kept
    from sluicegate.core.principal import Principal
    from sluicegate.core.settings import Identity, Issuer, Login
    from sluicegate.core.snapshot import Snapshot
    from sluicegate.keeper.parts import Compiled
    from sluicegate.link.counters import Samples
    from sluicegate.link.counting import Counting
    from sluicegate.spec.load import Loaded
    from sluicegate.stores.sqlite.reader import Reader
    from sluicegate.upstream.credentials.keyvault import Vault
    from sluicegate.upstream.credentials.sources import Sources

VERBS = {
    "serve": "Carry traffic until SIGTERM.",
    "check": "Say everything that is wrong with a configuration.",
    "diff": "What a configuration would change.",
    "apply": "Put a configuration in force on a running gateway.",
    "verify-bypass": "Is there a way around the gateway?",
    "key": "Make, list and revoke keys.",
    "consumer": "Consumers and keys that are made while the gateway runs.",
    "audit": "Who changed what, and whether the log of it is whole.",
    "config": "What is in force; a file of an older version, rewritten.",
    "status": "How the running gateway is.",
    "pools": "Which deployments serve which model, and how they are.",
    "top": "What the gateway does, second by second.",
    "explain": "Where a request would go now, and why.",
    "profile": "What each stage of a route costs.",
    "usage": "What was used, and what it cost.",
    "requests": "The last requests, one in full, or all as they end.",
    "residency": "Proof that nothing leaves its boundary, and evidence that nothing did.",
    "drain": "Give a deployment no new calls.",
    "undrain": "Bring a drained deployment back.",
    "reload": "Load the configuration again.",
    "restart": "Replace the workers, one at a time.",
    "demo": "Simulated deployments, a gateway in front of them, requests to try.",
    "simulate": "A simulated Azure OpenAI to point a gateway at.",
    "schema": "Print the JSON schema of a configuration, and other references.",
    "completion": "Teach a shell our verbs and options.",
    "version": "Print the version.",
}


class Verbs(click.Group):
    """Verbs whose modules are loaded when they are called: `serve` starts without what `demo` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"sluicegate.cli.{name.replace('-', '_')}").command
        return shown(command, name)

    def invoke(self, ctx: click.Context) -> Any:
        """Whoever names a file the way other programs take one is told how it is named here."""
        try:
            return super().invoke(ctx)
        except click.UsageError as e:
            if "unexpected extra argument" in e.message and e.ctx is not None:
                if any("--config" in option.opts for option in e.ctx.command.params):
                    hint = f"A configuration is named with -c: {e.ctx.command_path} -c FILE"
                    raise click.UsageError(f"{e.message}. {hint}", e.ctx) from None
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = get_close_matches(args[0], VERBS, 1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f'there is no verb "{args[0]}".{meant} The verbs: {", ".join(VERBS)}', ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=what) for name, what in VERBS.items() if name.startswith(incomplete)]
        return found + [o for o in click.Command.shell_complete(self, ctx, incomplete) if incomplete.startswith("-")]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


class Live:
    """What verbs need of the living house, handed in."""

    @cached_property
    def vault(self) -> Vault:
        """Asked for secrets by whoever loads a configuration that is to take effect."""
        from sluicegate.upstream.credentials.keyvault import Vault

        return Vault(os.environ, self.sources.fetch)

    @cached_property
    def sources(self) -> Sources:
        """Of tokens."""
        from sluicegate.upstream.credentials.azure_identity import Library
        from sluicegate.upstream.credentials.sources import Sources

        return Sources(os.environ, sign, Library(partial(importlib.import_module, "azure.identity")))

    def serve(
        self, loaded: Loaded, compile_: Callable[[], Loaded], files: Sequence[str], sent: Compiled | None = None
    ) -> int:
        """Be the keeper until told to leave. The exit status."""
        from sluicegate.admin.base import Wrong
        from sluicegate.admin.ledger import Tail
        from sluicegate.admin.plane import Beside as Shown
        from sluicegate.admin.plane import Plane
        from sluicegate.core.booked import Unusable
        from sluicegate.identity.fetch import Unreachable as IssuerUnreachable
        from sluicegate.identity.published import Published
        from sluicegate.keeper import drained, revoked
        from sluicegate.keeper.audit import Audit, Unwritable
        from sluicegate.keeper.credentials import Credentials
        from sluicegate.keeper.facts import facts
        from sluicegate.keeper.groups import Groups
        from sluicegate.keeper.home import Home, Taken
        from sluicegate.keeper.keeper import Beside, Keeper, say
        from sluicegate.keeper.mover import Moving
        from sluicegate.keeper.people import People
        from sluicegate.keeper.sockets import CannotListen, anonymous, listen
        from sluicegate.keeper.supervisor import regions
        from sluicegate.link.bugs import place, tell
        from sluicegate.link.counters import Board
        from sluicegate.link.sealed import seal
        from sluicegate.stores.sqlite.directory import DIRECTORY, Directory
        from sluicegate.stores.sqlite.ledger import Ledger
        from sluicegate.stores.sqlite.schema import LEDGER
        from sluicegate.telemetry import accesslog, prometheus
        from sluicegate.telemetry.accesslog import AccessLog
        from sluicegate.telemetry.alerts import Poster
        from sluicegate.upstream.credentials.token import Failed
        from sluicegate.upstream.fetch import Unreachable, fetch
        from sluicegate.upstream.tls import Contexts

        assert loaded.snapshot is not None
        gateway = loaded.snapshot.gateway
        if not gateway.core_dumps:
            seal()
        try:
            home = Home(gateway.data)
            drained.load(gateway.data)
            revoked.load(gateway.data)
            people = People(Directory(os.path.join(gateway.data, DIRECTORY)), gateway.data)
            audit = Audit(gateway.data, lambda head: say("audit.anchor", seq=head.seq, hash=head.hash))
            sockets = listen(gateway.listen, gateway.workers, shared=bool(home.orphans))
        except (CannotListen, Taken, Unusable, Unwritable, ValueError) as e:
            raise click.ClickException(str(e)) from None
        except OSError as e:
            what = f"cannot use gateway.data {gateway.data}: {(e.strerror or 'error').lower()}"
            raise click.ClickException(what) from None

        class Book:
            """The audit log, as the admin plane knows it. `alarms`: the keeper."""

            alarms: Any

            async def write(self, what: str, facts: Mapping[str, Any]) -> int:
                try:
                    number = await asyncio.to_thread(audit.append, what, dict(facts))
                    self.alarms.over("audit.failing", "audit")
                    return number
                except Unwritable as e:
                    self.alarms.alarm("audit.failing", "audit", str(e))
                    raise Wrong(503, f"nothing is changed: it cannot be written down ({e})") from None

            def read(self, after: int, most: int) -> tuple[list[dict[str, Any]], bool]:
                return audit.page(after, most)

            def verified(self) -> dict[str, Any]:
                head, flaws = audit.verified()
                told = [{"line": flaw.line, "what": flaw.what} for flaw in flaws]
                return {"whole": not told, "seq": head.seq, "hash": head.hash, "flaws": told}

        class Issuers:
            """Who people log in at. What checks signatures is loaded when somebody may."""

            def __init__(self, published: Published) -> None:
                self._published = published
                self._logins: Any = None

            @property
            def failed(self) -> type[Exception]:
                from sluicegate.identity.login import Failed

                return Failed

            def words(self, claims: Mapping[str, object]) -> str:
                from sluicegate.identity.login import words

                return words(claims)

            def adopt(self, issuers: Sequence[Issuer], login: Login | None) -> None:
                if login is not None and self._logins is None:
                    from sluicegate.identity.login import Logins

                    self._logins = Logins(post, self._published.sets, self._published.lacks, time.time, time.monotonic)
                if self._logins is not None:
                    self._logins.adopt(issuers, login)

            async def where(self, redirect: str, state: str, nonce: str, verifier: str) -> str:
                return str(await self._logins.where(redirect, state, nonce, verifier))

            async def redeem(self, code: str, redirect: str, nonce: str, verifier: str) -> Principal:
                found: Principal = await self._logins.redeem(code, redirect, nonce, verifier)
                return found

            def program(self, token: bytes) -> Principal | str:
                found: Principal | str = self._logins.program(token)
                return found

        contexts = Contexts()

        async def post(url: str, headers: Mapping[str, str], body: bytes, ca: str | None) -> tuple[int, bytes]:
            """As identity/ asks for it."""
            try:
                answer = await fetch("POST", url, headers, body, contexts=contexts, ca=ca)
            except Unreachable as e:
                raise IssuerUnreachable(str(e)) from None
            return answer.status, answer.body

        async def directory(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
            """As keeper/groups.py asks. 11,000 groups are 430 KB."""
            answer = await fetch("POST", url, headers, body, contexts=contexts, largest=1024 * 1024)
            return answer.status, answer.headers, answer.body

        async def run() -> int:
            with anonymous("counters") as shared:
                board = Board(shared.fileno(), regions(gateway.workers))

                def samples() -> Samples:
                    return board.read(keeper.supervisor.live_regions())

                def page() -> str:
                    return prometheus.render(samples(), facts(keeper, mover))

                tail = Tail()

                def settled(records: Sequence[Settled]) -> None:
                    log.settled(records)
                    if tail.wanted:
                        tail.take([
                            accesslog.encoded(accesslog.line(r, keeper.consumer(r.consumer), keeper.deployment))
                            for r in records
                        ])  # fmt: skip

                def refused(entries: Sequence[Entry]) -> None:
                    if tail.wanted:
                        tail.take(
                            [accesslog.encoded(accesslog.refused(e, keeper.consumer(e.consumer))) for e in entries]
                        )

                log = AccessLog(lambda number: keeper.consumer(number), lambda number: keeper.deployment(number))
                loop = asyncio.get_running_loop()

                def told(event: str, **facts: Any) -> None:
                    """By the mover, in a thread of its own."""
                    say(event, **facts)
                    if event == "ledger.gone":
                        what = "its file was moved or removed; another one is begun with what the journals hold"
                        loop.call_soon_threadsafe(keeper.alarm, "ledger.failing", "ledger", what)
                        loop.call_soon_threadsafe(keeper.over, "ledger.failing", "ledger")
                    elif event == "ledger.failing":
                        loop.call_soon_threadsafe(keeper.alarm, event, "ledger", str(facts["error"]))
                    elif event == "journal.damaged":
                        loop.call_soon_threadsafe(keeper.alarm, event, str(facts["segment"]), "a part cannot be read")
                    elif event == "ledger.well":
                        loop.call_soon_threadsafe(keeper.over, "ledger.failing", "ledger")

                mover = Moving(
                    os.path.join(gateway.data, "journal"), partial(Ledger, os.path.join(gateway.data, LEDGER)),
                    (Unusable,), lambda: keeper.settings.retention, told, on_moved=settled,
                    tariffs=lambda: keeper.tariffs(),
                )  # fmt: skip
                book = Book()
                published = Published(gateway.data, say)
                shown = Shown(page, prometheus.CONTENT_TYPE, samples, self.ledger, tail, book, Issuers(published))
                beside: list[Beside] = [mover, Plane(shown)]
                keeper = Keeper(
                    loaded, home, sockets, compile_, files, beside, shared.fileno(), log, sent, Poster(say), published,
                    Credentials(self.sources.fetch, Failed), people, audit, self.vault, Groups(directory, Unreachable),
                )  # fmt: skip
                book.alarms = keeper
                keeper.on_refused.append(refused)
                tell(lambda bug: say("bug", kind=type(bug).__name__, place=place(bug)))
                return await keeper.run()

        try:
            return asyncio.run(run())
        finally:
            audit.close()
            people.close()
            home.close()

    def made(self, data: str) -> Sequence[Kept]:
        """Consumers that were made through the management API of the gateway with this data. Raises Wrong."""
        from sluicegate.core.booked import Unusable
        from sluicegate.spec.references import Wrong
        from sluicegate.stores.sqlite.directory import DIRECTORY, kept_in

        try:
            return kept_in(os.path.join(data, DIRECTORY))
        except Unusable as e:
            raise Wrong(f"holds consumers that cannot be read: {e}", "restore it from a backup") from None

    def audit_verify(self, file: str | None, data: str | None, anchors: Sequence[tuple[int, str]]) -> dict[str, Any]:
        """Whether an audit log is whole: a copy, or that of a gateway with this data. Raises OSError."""
        from sluicegate.keeper.audit import FILE, Head, kept_head, verify

        heads = [Head(seq, hash_) for seq, hash_ in anchors]
        kept = kept_head(data) if data is not None else None
        with open(file or os.path.join(data or "", FILE), "rb") as f:
            head, flaws = verify(f, [*heads, *([kept] if kept is not None else [])])
        told = [{"line": flaw.line, "what": flaw.what} for flaw in flaws]
        return {"whole": not told, "seq": head.seq, "hash": head.hash, "flaws": told}

    def admin_page(self) -> str:
        """The reference page of the management API."""
        from sluicegate.admin.page import page

        return page(self._routes())

    def openapi(self) -> dict[str, Any]:
        """The management API as OpenAPI 3.1."""
        from sluicegate.admin.openapi import document

        return document(self._routes(), __version__)

    def _routes(self) -> list[Route]:
        """Of the management API, with nobody behind them."""
        from sluicegate.admin.plane import Beside, every
        from sluicegate.telemetry import prometheus

        nobody: Any = None
        return every(nobody, Beside(lambda: "", prometheus.CONTENT_TYPE, dict, lambda data: None))

    @contextmanager
    def journal(self, folder: str, snapshot: Snapshot) -> Iterator[Counting]:
        """What a worker hands its records to: a journal in files, and counters that nobody reads."""
        from sluicegate.link.counters import Counters
        from sluicegate.link.counting import Counting
        from sluicegate.link.journal import Journal

        written = Journal(folder, snapshot.gateway.name, snapshot.hash, snapshot.prices)
        try:
            yield Counting(written, Counters(), lambda number: f"#{number}", lambda number: f"#{number}")
        finally:
            written.close()

    def ledger(self, data: str) -> Reader:
        """The ledger of a folder, to read. Raises Unusable."""
        from sluicegate.stores.sqlite.reader import Reader
        from sluicegate.stores.sqlite.schema import LEDGER

        return Reader(os.path.join(data, LEDGER))


def sign(identity: Identity, audience: str) -> str:
    """What an application signs with its certificate. Only who has one pays for the library."""
    from sluicegate.upstream.credentials.assertion import sign

    return sign(identity, audience)


@click.group(cls=Verbs, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="sluicegate %(version)s")
@click.pass_context
def program(ctx: click.Context) -> None:
    """A self-hosted gateway in front of Azure OpenAI deployments."""
    ctx.obj = Live()
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main() -> None:
    """The entry point."""
    program(prog_name="sluicegate")


if __name__ == "__main__":
    main()
