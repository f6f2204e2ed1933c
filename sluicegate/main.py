"""The `sluicegate` program: its verbs, and how a worker is started. Nothing imports this file.

`serve` reads the configuration here, where the language and its libraries are loaded, and then becomes the worker by
exec: same process id, a fresh interpreter, the compiled configuration in an anonymous file and the listening socket
already open. So the process that carries traffic never had YAML or a validator in its memory, and a supervisor sees
one process.
"""

from __future__ import annotations

import errno
import importlib
import os
import socket
import sys
import tempfile
from typing import IO, Any, NoReturn

import click

from sluicegate.core.settings import Listen
from sluicegate.core.snapshot import Directory, Snapshot

BACKLOG = 2048

VERBS = {
    "serve": "Carry traffic until SIGTERM.",
    "check": "Say everything that is wrong with a configuration.",
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

    def start(self, snapshot: Snapshot, directory: Directory) -> NoReturn:
        """Become a worker."""
        from sluicegate.link.parcel import pack

        with listen(snapshot.gateway.listen) as listener, anonymous() as parcel:
            parcel.write(pack(snapshot, directory))
            parcel.flush()
            for fd in (parcel.fileno(), listener.fileno()):
                os.set_inheritable(fd, True)
            sys.stdout.flush()
            sys.stderr.flush()
            fds = ["--parcel-fd", str(parcel.fileno()), "--listen-fd", str(listener.fileno())]
            # -P: what lies in the current directory is not part of the program.
            os.execv(sys.executable, [sys.executable, "-P", "-m", "sluicegate.worker", *fds])


def listen(where: Listen) -> socket.socket:
    """A listening socket, ready to be shared by workers. Exit status 1 with what to do when there is none to be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if where.port:
            # Without SO_REUSEPORT first: with it, two gateways by mistake would share the port and its traffic.
            bound(family, address, socket.SO_REUSEADDR).close()
        listener = bound(family, address, socket.SO_REUSEADDR, socket.SO_REUSEPORT)
        listener.listen(BACKLOG)
    except OSError as e:
        label = f"[{where.host}]:{where.port}" if ":" in where.host else f"{where.host}:{where.port}"
        hint = _ADVICE.get(e.errno or 0, "Write another gateway.listen.address.")
        raise click.ClickException(f"cannot listen on {label}: {(e.strerror or 'error').lower()}. {hint}") from None
    return listener


def bound(family: int, address: Any, *options: int) -> socket.socket:
    """A socket with these options, bound."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


_ADVICE = {
    errno.EADDRINUSE: "Stop what listens there (ss -ltnp shows it), or write another gateway.listen.address.",
    errno.EADDRNOTAVAIL: "This machine has no such address: 0.0.0.0 means every address it has.",
    errno.EACCES: "Ports below 1024 need a privilege: write a higher one, such as 8443.",
}


def anonymous() -> IO[bytes]:
    """A file without a name, that ends with the last process that holds it: a parcel has secrets in it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("sluicegate-parcel"), "w+b")
    return tempfile.TemporaryFile()


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
