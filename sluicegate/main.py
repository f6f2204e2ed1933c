"""The `sluicegate` program: its verbs, and what each needs of the living house. Nothing imports this file.

`serve` is the keeper: it reads the configuration, where the language and its libraries are loaded, and starts workers
as programs of their own. So the processes that carry traffic never had YAML or a validator in their memory.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
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
    from sluicegate.core.kept import Kept
    from sluicegate.core.settings import Identity
    from sluicegate.core.snapshot import Snapshot
    from sluicegate.keeper.parts import Compiled
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
        from sluicegate.serve import serve

        return serve(loaded, compile_, files, sent, self.sources, self.vault, self.ledger)

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
