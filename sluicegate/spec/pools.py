"""What the declared deployments offer, and the pool that a model's `use` makes of them.

A selector takes every deployment of one model and version, so that "same model, same version" holds by construction
and new capacity joins by being declared. The order follows from the deployment types: see skus.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from sluicegate.core.snapshot import Deployment, Model
from sluicegate.spec.forms import Use
from sluicegate.spec.kinds import Context, closest
from sluicegate.spec.problems import Path
from sluicegate.spec.values import Selector

UNWEIGHTED = ("round_robin", "latency")
"""Balances that look at no weight."""


class Offers:
    """All deployments, in order of declaration."""

    def __init__(self, cx: Context) -> None:
        self._cx = cx
        self.deployments: list[Deployment] = []
        self.regions: dict[int, str] = {}
        "Of each, by number: that of its instance."
        self._by_label: dict[str, Deployment] = {}
        self._labels: dict[int, str] = {}
        self._offered: dict[int, str] = {}
        "`model@version` as it may be shown: in the words of the file where they came from references."

    def add(self, instance: str, region: str, deployment: Deployment) -> None:
        """Declare one."""
        name = deployment.name
        self.deployments.append(deployment)
        self._by_label[f"{instance}/{name}"] = deployment
        self._labels[deployment.number] = f"{instance}/{name}"
        self.regions[deployment.number] = region
        at: Path = ("instances", instance, "deployments", name)
        said = [
            self._cx.sealed.get((*at, "model"), deployment.model),
            self._cx.sealed.get((*at, "version"), deployment.version),
        ]
        self._offered[deployment.number] = "@".join(said)

    def offered(self, deployment: Deployment) -> str:
        """`gpt-4o@2024-11-20`, as it may be shown."""
        return self._offered[deployment.number]

    def label(self, deployment: Deployment) -> str:
        """`weu/gpt-4o`."""
        return self._labels[deployment.number]

    def check_weights(self, models: Iterable[Model]) -> None:
        """Say which weights no pool looks at."""
        balances: dict[int, list[tuple[str, str]]] = {}
        for model in models:
            arm = model.rollout.deployments if model.rollout is not None else ()
            for number in (*model.deployments, *arm):
                balances.setdefault(number, []).append((model.name, model.balance))
        for d in self.deployments:
            used = balances.get(d.number)
            if d.weight != 1 and used and all(balance in UNWEIGHTED for _, balance in used):
                instance, _, name = self.label(d).partition("/")
                at: Path = ("instances", instance, "deployments", name, "weight")
                names = list(dict.fromkeys(model for model, _ in used))
                what = f"has no effect: {' and '.join(names)} {'do' if names[1:] else 'does'} not balance by it"
                self._cx.say(at, what, "write balance: weighted there, or remove it", key=True)

    def pool(self, use: Use, at: Path, home: str = "", mixed: bool = False) -> list[Deployment]:
        """The members in the order in which they are tried: those that are away from region `home` last, then by
        tier, then as declared. Empty after reporting why. `mixed`: a list may hold several models and versions."""
        members = self._selected(use.selector, at) if use.selector else self._listed(use, at, mixed)
        return sorted(members, key=lambda d: (self._away(d, home), d.tier))

    def _away(self, deployment: Deployment, home: str) -> bool:
        region = self.regions[deployment.number]
        return bool(home and region and region != home)

    def _selected(self, selector: Selector, at: Path) -> list[Deployment]:
        found = [d for d in self.deployments if (d.model, d.version) == selector]
        live = [d for d in found if d.tier >= 0]
        if found and not live:
            what = f"only batch deployments offer {self._selector_text(selector, at)}: {self._several(found)}"
            self._cx.say(at, what, "batch kinds serve no live request: declare a standard or provisioned deployment")
        elif not found and not self._cx.problems.damaged(("instances",)):
            what = f"no deployment offers {self._selector_text(selector, at)}"
            self._cx.say(at, what, self._closest(selector))
        return live

    def _listed(self, use: Use, at: Path, mixed: bool) -> list[Deployment]:
        members: list[Deployment] = []
        for n, (instance, name) in enumerate(use.members):
            label, here = f"{instance}/{name}", (*at, n)
            shown = self._cx.shown(here, label)
            found = self._by_label.get(label)
            if found is None:
                if not self._cx.problems.damaged(("instances", instance)):
                    near = closest(label, self._by_label)
                    hint = "" if near else f"declared: {self._several(self.deployments)}"
                    self._cx.say(here, f"no deployment is called {shown}{near}", hint)
            elif found in members:
                self._cx.say(here, f"{shown} is listed twice", "keep one of them")
            elif found.tier < 0:
                self._cx.say(here, f"{shown} is a batch deployment, which serves no live request", "remove it")
            elif members and not mixed and (found.model, found.version) != (members[0].model, members[0].version):
                first = members[0]
                ours, theirs = self._offered[found.number], self._offered[first.number]
                hint = "members stand in for each other: give each model and version a name of its own"
                self._cx.say(here, f"{shown} is {ours}, but {self.label(first)} is {theirs}", hint)
            else:
                members.append(found)
        return members

    def _selector_text(self, selector: Selector, at: Path) -> str:
        return self._cx.sealed.get(at, str(selector))

    def _closest(self, selector: Selector) -> str:
        offered: dict[str, list[Deployment]] = {}
        for d in self.deployments:
            offered.setdefault(self._offered[d.number], []).append(d)
        same = [text for text in offered if text.partition("@")[0] == selector.model]
        near = get_close_matches(str(selector), same or offered, n=1, cutoff=0.0 if same else 0.6)
        if near:
            return f"closest: {near[0]} ({self._several(offered[near[0]])})"
        return f"declared: {', '.join(list(offered)[:6])}" if offered else "declare a deployment of it under instances:"

    def _several(self, deployments: Iterable[Deployment]) -> str:
        labels = [self.label(d) for d in deployments]
        return labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more" if labels else "none"
