"""`sluicegate verify-bypass`: is there a way around the gateway, for somebody where this runs?

A gateway restricts only who cannot reach the deployments without it. So this goes where clients are, and asks every
instance directly, without a credential and with those that clients have: each must refuse, or not be there at all. And
it asks the gateway's own address without the front door's header. It asks for lists of models, which costs nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from urllib.parse import urlsplit

import click

from sluicegate.apis import APIS
from sluicegate.cli.configuration import DEFAULT, config_option
from sluicegate.cli.running import json_option
from sluicegate.core.snapshot import Instance
from sluicegate.spec.addresses import Endpoint
from sluicegate.spec.load import load_all
from sluicegate.spec.problems import render
from sluicegate.spec.references import Resolved, Sources, Wrong

LISTS: Mapping[str, str] = {
    "azure_openai": "/openai/models?api-version=2024-10-21",
    "foundry": "/openai/models?api-version=2024-10-21",
    "anthropic": "/v1/models",
}
"""What is asked of an instance, by provider: reading it needs a credential. Of others `/models`, below their path."""

AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")

HEADERS = ("api-key", "Authorization", "x-api-key")

CLOSED, REFUSED, OPEN, UNCLEAR = "closed", "refused", "open", "unclear"
ANSWER_MOST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Probe:
    """One question and what came of it."""

    where: str
    "Instance, or `gateway`."
    address: str
    shown: str
    "What was shown, by name, never its value."
    outcome: str
    detail: str


class NoSecrets(Sources):
    """Where this runs the gateway's secrets have no business to be: others stand in for them, and are not used."""

    def resolve(self, text: str, secret: bool = False) -> Resolved:
        """Any secret, as long as it is always the same."""
        return Resolved(sha256(text.encode()).hexdigest(), True) if secret else super().resolve(text)


@click.command()
@click.argument("endpoints", metavar="[ENDPOINT]...", nargs=-1)
@config_option
@click.option("--key-env", "names", metavar="NAME", multiple=True, help="A variable with a client's key or token.")
@click.option("--gateway", metavar="URL", help="The gateway's own address, around its front door.")
@click.option("--timeout", type=click.FloatRange(0.1, 60), default=5.0, show_default=True, help="Seconds for each.")
@json_option
def command(
    endpoints: tuple[str, ...], config: tuple[str, ...], names: tuple[str, ...], gateway: str | None, timeout: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Look for ways around the gateway, from where this runs: run it where your clients are.

    Every instance of the configuration, or each ENDPOINT, is asked directly, without a credential and with each of
    --key-env, and must refuse or be out of reach. With --gateway the gateway is asked without X-Azure-FDID and with a
    wrong one. The gateway's own secrets are neither needed nor used.

    Exit status: 0 no way around was found, 1 one was, or an answer leaves it open, 2 nothing could be tried.
    """
    instances, doors, public = declared(config) if not endpoints else (addresses(endpoints), True, "")
    keys = {}
    for name in names:
        if not os.environ.get(name):
            raise click.UsageError(f"{name} is not set: export it, or leave --key-env {name} out")
        keys[name] = os.environ[name].strip()
        if not re.fullmatch(r"[\x21-\x7e]+", keys[name]):
            raise click.UsageError(f"{name} holds no key or token: there are blanks or odd characters in it")
    probes = [probe for instance in instances for probe in around(instance, keys, timeout)]
    if gateway is not None:
        parts = urlsplit(gateway)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError("--gateway is an address such as https://10.0.0.4:8443")
        if not doors:
            raise click.UsageError("--gateway: the configuration has no gateway.front_door_ids, so it has no door")
        probes += past_the_door(gateway, keys, timeout)
        if public:
            probes.append(by_the_door(public, timeout))
    bad = [probe for probe in probes if probe.outcome in (OPEN, UNCLEAR)]
    if as_json:
        click.echo(json.dumps({"bypass": bool(bad), "probes": [asdict(probe) for probe in probes]}))
    else:
        for line in told(probes, bad):
            click.echo(line)
    if bad:
        raise SystemExit(1)


def declared(config: tuple[str, ...]) -> tuple[Sequence[Instance], bool, str]:
    """The instances of a configuration, whether it has a front door, and the address before that."""
    if not config and not os.path.exists(DEFAULT):
        raise click.UsageError(f"there is no {DEFAULT} here. Name your configuration, -c FILE, or the endpoints to try")
    loaded = load_all(config or (DEFAULT,), NoSecrets(os.environ), tuple(APIS), False)
    if loaded.snapshot is None:
        click.echo(render(loaded.problems, "or name the endpoints: sluicegate verify-bypass https://..."), err=True)
        raise SystemExit(2)
    gateway = loaded.snapshot.gateway
    return loaded.snapshot.instances, bool(gateway.front.doors), gateway.public_url


def addresses(endpoints: Sequence[str]) -> list[Instance]:
    """Instances of which nothing is known but where they are."""
    found = []
    for number, text in enumerate(endpoints, 1):
        try:
            url = Endpoint().parse(text)
        except Wrong as e:
            raise click.UsageError(f"{text} {e.what}") from None
        provider = "azure_openai" if url.host.endswith(AZURE) else "openai_compatible"
        found.append(Instance(number, url.host, provider, url.scheme, url.host, url.port, url.base_path))
    return found


def around(instance: Instance, keys: Mapping[str, str], timeout: float) -> Iterator[Probe]:
    """An instance, asked as if there were no gateway."""
    path = instance.base_path + LISTS.get(instance.provider, "/models")
    address = f"{instance.scheme}://{instance.host}:{instance.port}"
    trusted = _trust(instance.ca)
    for shown, headers in _credentials(keys):
        status, said = _get(instance.scheme, instance.host, instance.port, path, headers, timeout, trusted)
        yield Probe(instance.name, address, shown, *judged(status, said))


def past_the_door(gateway: str, keys: Mapping[str, str], timeout: float) -> Iterator[Probe]:
    """The gateway, asked around its front door. Its certificate is for another name than the one that is called here:
    it is not looked at."""
    parts = urlsplit(gateway)
    trusted = ssl.create_default_context()
    trusted.check_hostname = False
    trusted.verify_mode = ssl.CERT_NONE
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    path = parts.path.rstrip("/") + "/v1/models"
    for door, extra in (("no X-Azure-FDID", {}), ("a wrong X-Azure-FDID", {"X-Azure-FDID": NO_DOOR})):
        for shown, headers in _credentials(keys, ("api-key",)):
            found = _get(parts.scheme, parts.hostname or "", port, path, {**headers, **extra}, timeout, trusted)
            status, said = found
            outcome, detail = judged(status, said)
            if outcome == REFUSED and "front.door" not in said and "front.address" not in said:
                outcome, detail = OPEN, f"{status}: refused for its credential, not for its way"
            yield Probe("gateway", gateway, f"{door}, {shown}", outcome, detail)


def by_the_door(url: str, timeout: float) -> Probe:
    """The way that clients take: a gateway that is shut to them, too, has no way around and is no use."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    path = parts.path.rstrip("/") + "/v1/models"
    status, said = _get(parts.scheme, parts.hostname or "", port, path, {}, timeout, _trust(None))
    outcome, detail = judged(status, said)
    if "front.door" in said:
        outcome, detail = UNCLEAR, f"{status}: refused as front.door: the id in the configuration is of another door"
    return Probe("front door", url, "no credential", outcome, detail)


NO_DOOR = "00000000-0000-0000-0000-000000000000"


def judged(status: int, said: str) -> tuple[str, str]:
    """What an answer means. 0: there was none."""
    if status <= 0:
        return (UNCLEAR if status else CLOSED), said
    if status in (401, 403):
        return REFUSED, str(status)
    if 200 <= status < 300:
        return OPEN, f"{status}: it answers"
    return UNCLEAR, f"{status}: neither an answer nor a refusal for want of a right"


def told(probes: Sequence[Probe], bad: Sequence[Probe]) -> Iterator[str]:
    """For people."""
    last = ""
    for probe in probes:
        if probe.where != last:
            last = probe.where
            yield f"{probe.where} ({probe.address})"
        yield f"  {probe.shown}: {probe.outcome}, {probe.detail}"
    if not bad:
        reached = any(probe.outcome == REFUSED for probe in probes)
        yield "no way around the gateway was found from here" + (
            "; what refused could be reached: close its network, too" if reached else ""
        )
        return
    names = list(dict.fromkeys(probe.where for probe in bad))
    if "gateway" in names:
        yield "the gateway answers around its front door: let only the service tag AzureFrontDoor.Backend reach it"
        names.remove("gateway")
    if "front door" in names:
        yield "nobody comes in by the front door: look at gateway.front_door_ids and gateway.public_url"
        names.remove("front door")
    for name in names:
        found = [probe for probe in bad if probe.where == name]
        if all(probe.outcome == UNCLEAR for probe in found):
            yield f"{name}: it could be reached, and did not say no: look what stands there"
        elif any(probe.shown == "no credential" for probe in found):
            yield f"{name}: anybody who reaches it is answered: let only the gateway's subnet reach it"
        else:
            yield f"{name}: clients have its keys: renew them, give them to the gateway alone, turn local keys off"
    yield "how: docs/how-to/close-the-side-door.md"


def _credentials(keys: Mapping[str, str], headers: Sequence[str] = HEADERS) -> Iterator[tuple[str, dict[str, str]]]:
    yield "no credential", {}
    for name, value in keys.items():
        for header in headers:
            yield f"{name} as {header}", {header: f"Bearer {value}" if header == "Authorization" else value}


def _trust(ca: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _get(
    scheme: str, host: str, port: int, path: str, headers: Mapping[str, str], timeout: float, trusted: ssl.SSLContext
) -> tuple[int, str]:
    """Status and answer; 0 and the reason where nobody is, -1 where somebody is who cannot be understood. No proxy of
    the environment is asked: it would answer for a network that is not the one this runs in."""
    connection: http.client.HTTPConnection
    if scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=trusted)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Accept": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_MOST).decode("utf-8", "replace")
    except ssl.SSLError as e:
        return -1, f"TLS: {e.reason or 'failed'}"
    except TimeoutError:
        return 0, "no answer in time"
    except http.client.HTTPException:
        return -1, "no answer in HTTP"
    except OSError as e:
        return 0, (e.strerror or type(e).__name__).lower()
    finally:
        connection.close()
