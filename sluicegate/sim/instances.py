"""What both forms of a fleet share: instances by name, one ledger, one book of faults, changes while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sluicegate.sim.azure.capacity import Standard
from sluicegate.sim.azure.instance import Instance
from sluicegate.sim.faults import Active, FaultBook
from sluicegate.sim.ledger import Ledger
from sluicegate.sim.spec import FleetSpec, InstanceSpec, changed, fleet_spec

Given = FleetSpec | Mapping[str, Any] | int
"""A spec, plain data (see sim/spec.py), or how many like instances (`i1`, `i2`, ...)."""


class Instances:
    """The instances of a fleet, however they are reached."""

    def __init__(self, given: Given, seed: int | None, keep_bodies: bool) -> None:
        self.spec = fleet_spec(given)
        self.seed = self.spec.seed if seed is None else seed
        self.ledger = Ledger(keep_bodies)
        self.faults = FaultBook(self.seed)
        self.quotas = {name: Standard(spec) for name, spec in self.spec.quotas.items()}
        self.behind = {
            name: Instance(name, spec, self.seed, self.ledger, self.faults, self.quotas)
            for name, spec in self.spec.instances.items()
        }
        self._first = {name: instance.spec for name, instance in self.behind.items()}
        for given_fault in self.spec.faults:
            self.fault(**given_fault)

    def __len__(self) -> int:
        return len(self.behind)

    def now(self) -> float:
        """Monotonic seconds of this form."""
        raise NotImplementedError

    def applied(self, name: str, spec: InstanceSpec) -> None:
        """An instance was changed: let its mode take effect."""

    def fault(self, kind: str, **fields: Any) -> Active:
        """Put a fault in force; docs/reference/simulator.md lists kinds and fields. Raises ValueError."""
        name = fields.get("instance")
        if name is not None:
            self._known(name)
        return self.faults.add({"kind": kind, **fields}, self.now())

    def lift(self, fault: Active | None = None) -> None:
        """Lift one fault, or all."""
        self.faults.remove(fault.number if fault is not None else None)

    def heal(self) -> None:
        """Lift all faults and bring every instance up."""
        self.lift()
        self.patch({name: {"mode": "up"} for name in self.behind})

    def mode(self, name: str, mode: str) -> None:
        """`up`, `down` (killed: nothing listens, connections are reset), `stall` (connecting hangs)."""
        self.patch({name: {"mode": mode}})

    def patch(self, instances: Mapping[str, Any]) -> None:
        """Change instances, all of those named or none. Raises ValueError."""
        specs: dict[str, InstanceSpec] = {}
        for name, patch in instances.items():
            if not isinstance(patch, Mapping):
                raise ValueError(f"instances.{name}: write an object")
            specs[name] = changed(self._known(name).spec, patch, self.quotas)
        for name, spec in specs.items():
            self._apply(name, spec)

    def reset(self) -> None:
        """Ledger and faults empty, instances as they were at the start."""
        self.ledger.clear()
        self.faults.remove()
        for name, spec in self._first.items():
            self._apply(name, spec)
        for given_fault in self.spec.faults:
            self.fault(**given_fault)

    def export(self) -> dict[str, Any]:
        """The configuration in force as plain data, without keys."""
        out = {}
        for name, instance in self.behind.items():
            out[name] = msgspec.to_builtins(instance.spec)
            del out[name]["key"], out[name]["second_key"]
        return {"seed": self.seed, "instances": out}

    def _known(self, name: Any) -> Instance:
        if name not in self.behind:
            raise ValueError(f"instance: there is no {name!r}, only {', '.join(self.behind)}")
        return self.behind[name]

    def _apply(self, name: str, spec: InstanceSpec) -> None:
        self.behind[name].configure(spec)
        self.applied(name, spec)
