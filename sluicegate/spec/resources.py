"""One resource is in one place and on one bill: instances that are the same one must say the same of it.

Two instances may share an address: a server with two paths, two credentials for one resource. What is declared of
them decides where prompts may go and who pays. A resource of Azure is in one region and one subscription, so two that
are said of it are an error, by whichever of its names it is reached. Of any other host it may be true (a proxy in front
of several), and is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sluicegate.core.residency import plain
from sluicegate.spec.capacity import InstanceSpec
from sluicegate.spec.kinds import Context
from sluicegate.spec.language import Document

_AZURE: Final = re.compile(r"([^.]+)\.(?:openai|cognitiveservices|services\.ai)\.(azure\.(?:com|us|cn))")
"""Names of one resource: its own word, and a domain for each thing that it offers."""


def resource(spec: InstanceSpec) -> tuple[str, bool]:
    """What an endpoint reaches, as far as its name tells, and whether that is one resource of Azure's."""
    url = spec.endpoint
    found = _AZURE.fullmatch(url.host)
    if found is not None:
        return f"{found[1]}.{found[2]}", True
    return f"{url.host}:{url.port}", False


def one_place(document: Document, cx: Context) -> None:
    """Report every instance that contradicts an earlier one of the same resource."""
    seen: dict[tuple[str, str], str] = {}
    for name, spec in document.instances.items():
        what, azure = resource(spec)
        for field, value in _said(spec):
            first = seen.setdefault((what, field), name)
            other = getattr(document.instances[first], field)
            if plain(other) == plain(value):
                continue
            at = ("instances", name, field)
            there = cx.shown(("instances", first, field), other)
            if azure:
                says = f"is {cx.shown(at, value)}, and {there} for instances.{first}, which is the same resource"
                cx.say(at, says, f"a resource is in one {field}: write the true one at both")
            else:
                says = f"is {cx.shown(at, value)}, and {there} for instances.{first}, at the same address"
                hint = f"where its paths do lead to two, all is well; where they do not, one {field} is untrue"
                cx.say(at, says, hint, "warning")


def _said(spec: InstanceSpec) -> Iterator[tuple[str, str]]:
    if spec.region:
        yield "region", spec.region
    if spec.subscription:
        yield "subscription", spec.subscription
