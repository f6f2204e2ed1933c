"""What the verbs that read the ledger do the same way: find it, or ask a gateway that is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from sluicegate.cli.running import At
from sluicegate.core.booked import Unusable
from sluicegate.spec.accounts import Names, Unclear


@contextmanager
def opened(ctx: click.Context, at: At) -> Iterator[tuple[Any, Names]]:
    """The ledger and the names that go with it, or exit status 1 with what is wrong; 2 where the question is."""
    folder = at.folder()
    try:
        with closing(ctx.obj.ledger(folder)) as reader:
            yield reader, Names(folder)
    except Unusable as e:
        raise click.ClickException(str(e)) from None
    except Unclear as e:
        raise click.UsageError(str(e)) from None
    except OverflowError:
        raise click.UsageError("a time or a number is out of range: years from 1970 to 9998") from None
