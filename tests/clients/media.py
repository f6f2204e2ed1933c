"""A site for images and audio: two Azure instances and a server of its own, http or https, one model for each kind."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench import certificates
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Listen, TlsFiles
from sluicegate.core.snapshot import Auth, Deployment, Model
from sluicegate.sim.fleet import FleetThread
from sluicegate.sim.tls import Certificates
from tests.clients.members import over
from tests.clients.site import Site
from tests.gateway import UNMOVED, GatewayThread, directory, instance

IMAGES = ("images_generations", "images_edits")
HEARS = ("audio_transcriptions", "audio_translations")
MODELS = {
    # public name: (model, operations, instances)
    "pictures": ("gpt-image-1", IMAGES, (1, 2)),
    "voice": ("gpt-4o-mini-tts", ("audio_speech",), (1, 2)),
    "ears": ("gpt-4o-transcribe", ("audio_transcriptions",), (1, 2)),
    "whisper": ("whisper", HEARS, (1, 2)),
    "own-pictures": ("my-painter", IMAGES, (3,)),
    "own-voice": ("my-voice", ("audio_speech",), (3,)),
    "own-ears": ("my-ears", HEARS, (3,)),
}
CUT_EARLY, CUT_LATE, FIRST_ONLY = "befall-cut-early", "befall-cut-late", "befall-first-only"
"""Answers of all members, or of the first, break off: before their first mebibyte, after it."""


@contextlib.contextmanager
def media_site(tls: bool, folder: Path) -> Iterator[Site]:
    """Members are tried in their order."""
    made = certificates.make(folder) if tls else None
    files = made and Certificates(str(made.ca), str(made.certificate), str(made.key))
    given = {
        f"i{n}": {
            "deployments": {f"{name}-{n}": {"model": m} for name, (m, _, on) in MODELS.items() if n in on},
            "tls": tls,
            **({"kind": "openai_compatible"} if n == 3 else {}),
        }
        for n in (1, 2, 3)
    }
    with FleetThread(given, seed=7, tls=files) as fleet:
        fleet.fault("cut", how="fin", at=700, marker=CUT_EARLY)
        fleet.fault("cut", how="fin", at=-1000, marker=CUT_LATE)
        fleet.fault("cut", how="fin", at=700, marker=FIRST_ONLY, instance="i1")
        more = {"scheme": "https", "host": "localhost", "ca": str(made.ca)} if made else {}
        instances = [
            instance(n, served.port, name=served.name, auth=Auth("key", Secret(served.key)), **more)
            for n, served in enumerate(fleet, 1)
        ]
        instances[2] = replace(instances[2], provider="openai_compatible", base_path="/v1")
        listen = Listen(port=0, tls=TlsFiles(str(made.certificate), str(made.key)) if made else None)
        deployments, models = [], []
        for number, (name, (model, operations, on)) in enumerate(MODELS.items(), 1):
            mine = [number * 10 + n for n in on]
            deployments += [
                Deployment(d, f"{name}-{n}", n, model, "1", "Standard", n) for d, n in zip(mine, on, strict=True)
            ]
            models.append(Model(number, name, tuple(mine), operations, breaker=UNMOVED))
        snapshot = replace(over(instances, {}, listen), deployments=tuple(deployments), models=tuple(models))
        with GatewayThread(snapshot, directory(tuple(MODELS))) as gateway:
            gateway.journal.recent = deque()
            yield Site(gateway, fleet, made.ca if made else None)
