"""The `sluicegate` program: its verbs, and what each needs of the living house. Nothing imports this file.

`serve` is the keeper: it reads the configuration, where the language and its libraries are loaded, and starts workers
as programs of their own. So the processes that carry traffic never had YAML or a validator in their memory.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sluicegate.spec.load import Loaded
    from sluicegate.stores.sqlite.reader import Reader

VERBS = {
    "serve": "Carry traffic until SIGTERM.",
    "check": "Say everything that is wrong with a configuration.",
    "diff": "What a configuration would change.",
    "key": "Make a key for a consumer.",
    "config": "Rewrite a file of an older version of the language.",
    "status": "How the running gateway is.",
    "pools": "Which deployments serve which model, and how they are.",
    "explain": "Where a request would go now, and why.",
    "usage": "What was used, and what it cost.",
    "requests": "The last requests, or one in full.",
    "drain": "Give a deployment no new calls.",
    "undrain": "Bring a drained deployment back.",
    "reload": "Load the configuration again.",
    "restart": "Replace the workers, one at a time.",
    "demo": "Simulated deployments, a gateway in front of them, requests to try.",
    "simulate": "A simulated Azure OpenAI to point a gateway at.",
    "schema": "Print the JSON schema of a configuration.",
    "version": "Print the version.",
}


class Verbs(click.Group):
    """Verbs whose modules are loaded when they are called: `serve` starts without what `demo` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"sluicegate.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f'there is no verb "{args[0]}". The verbs: {", ".join(VERBS)}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


class Live:
    """What verbs need of the living house, handed in."""

    def serve(self, loaded: Loaded, compile_: Callable[[], Loaded], files: Sequence[str]) -> int:
        """Be the keeper until told to leave. The exit status."""
        from sluicegate.admin.plane import Plane
        from sluicegate.core.booked import Unusable
        from sluicegate.keeper import drained
        from sluicegate.keeper.facts import facts
        from sluicegate.keeper.home import Home, Taken
        from sluicegate.keeper.keeper import Beside, Keeper, say
        from sluicegate.keeper.mover import Moving
        from sluicegate.keeper.sockets import CannotListen, anonymous, listen
        from sluicegate.keeper.supervisor import regions
        from sluicegate.link.counters import Board
        from sluicegate.stores.sqlite.ledger import Ledger
        from sluicegate.stores.sqlite.schema import LEDGER
        from sluicegate.telemetry import prometheus
        from sluicegate.telemetry.accesslog import AccessLog

        assert loaded.snapshot is not None
        gateway = loaded.snapshot.gateway
        try:
            home = Home(gateway.data)
            drained.load(gateway.data)
            sockets = listen(gateway.listen, gateway.workers, shared=bool(home.orphans))
        except (CannotListen, Taken, ValueError) as e:
            raise click.ClickException(str(e)) from None
        except OSError as e:
            what = f"cannot use gateway.data {gateway.data}: {(e.strerror or 'error').lower()}"
            raise click.ClickException(what) from None

        async def run() -> int:
            with anonymous("counters") as shared:
                board = Board(shared.fileno(), regions(gateway.workers))

                def page() -> str:
                    return prometheus.render(board.read(keeper.supervisor.live_regions()), facts(keeper, mover))

                log = AccessLog(lambda number: keeper.consumer(number), lambda number: keeper.deployment(number))
                mover = Moving(
                    os.path.join(gateway.data, "journal"), partial(Ledger, os.path.join(gateway.data, LEDGER)),
                    (Unusable,), gateway.retention, say, on_moved=log.settled, tariffs=lambda: keeper.tariffs(),
                )  # fmt: skip
                beside: list[Beside] = [mover, Plane(page, prometheus.CONTENT_TYPE)]
                keeper = Keeper(loaded, home, sockets, compile_, files, beside, shared.fileno(), log)
                return await keeper.run()

        try:
            return asyncio.run(run())
        finally:
            home.close()

    def ledger(self, data: str) -> Reader:
        """The ledger of a folder, to read. Raises Unusable."""
        from sluicegate.stores.sqlite.reader import Reader
        from sluicegate.stores.sqlite.schema import LEDGER

        return Reader(os.path.join(data, LEDGER))


@click.group(cls=Verbs, no_args_is_help=True)
@click.pass_context
def program(ctx: click.Context) -> None:
    """A self-hosted gateway in front of Azure OpenAI deployments."""
    ctx.obj = Live()


def main() -> None:
    """The entry point."""
    program(prog_name="sluicegate")


if __name__ == "__main__":
    main()
