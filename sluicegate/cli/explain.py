"""`sluicegate explain`: where a request of this consumer would go now, and why; or why it would be refused.

The running gateway decides it, by the code that decides live requests, in a dry run that sends and takes nothing. With
--from, the same code does so here, over a configuration in which nothing is under way. A body is read here, and only
what decides goes on to the gateway: sizes, numbers, short fields; never a prompt.
"""

from __future__ import annotations

import json
import sys
from difflib import get_close_matches
from typing import Any, cast

import click

from sluicegate.apis import APIS, Paths, rows
from sluicegate.apis.base import Api, BadRequest, FormApi
from sluicegate.cli.configuration import load
from sluicegate.cli.explained import matches, refused_early, text
from sluicegate.cli.running import At, ask, running
from sluicegate.core.caller import Callers
from sluicegate.core.explain import CHANCE, Question, Unknown, deciding, explain, key_of
from sluicegate.core.fork import Kept
from sluicegate.core.state import World
from sluicegate.core.whose import NoQuestion, principal, whose
from sluicegate.spec.offered import called

TOKENS = 100
OPERATION = "chat_completions"


class CannotExplain(click.ClickException):
    """There is nobody to ask, or the question names what is not there."""

    exit_code = 2


class Refused(Exception):
    """Before anybody's limits or pools: by what the request itself is."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


@click.command()
@running
@click.option("--from", "old", metavar="FILE", multiple=True, help="By this configuration, with nothing under way.")
@click.option("--consumer", "--as", metavar="NAME", help="Who asks. A name; keys are never asked for.")
@click.option("--claims", metavar="JSON", help="Who asks, by the claims of a token: a file, - or JSON itself.")
@click.option("--issuer", metavar="NAME", help="Whose token it is: a name under issuers.")
@click.option("--certificate", metavar="JSON", help="And the fields of a client certificate: thumbprint, dns, ...")
@click.option("--model", metavar="NAME", help="Public name that is asked for.")
@click.option("--tokens", type=click.IntRange(0), help=f"Of the prompt. Default: {TOKENS}.")
@click.option("--max-tokens", "most", type=click.IntRange(0), help="Of the answer. Default: the request says none.")
@click.option("--stream", is_flag=True, help="The answer is to be streamed.")
@click.option("--body", metavar="FILE", help="A request's body, instead of the three before; - reads it from stdin.")
@click.option(
    "--operation",
    metavar="NAME",
    help="What is asked for: embeddings, or 'POST /a/path' as under a model's "
    "operations. Default: chat completions, or else what the model offers first.",
)
@click.option("--path", metavar="PATH", help="Request path, instead of --operation.")
@click.option("--chance", type=click.FloatRange(0, 1), default=CHANCE, help="The draw, where a balance draws lots.")
@click.option("--worker", type=int, metavar="PID", help="By this worker alone. Default: all; said where they differ.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, each worker apart.")
@click.pass_context
def command(
    ctx: click.Context,
    at: At,
    old: tuple[str, ...],
    consumer: str | None,
    claims: str | None,
    issuer: str | None,
    certificate: str | None,
    model: str | None,
    tokens: int | None,
    most: int | None,
    stream: bool,
    body: str | None,
    operation: str | None,
    path: str | None,
    chance: float,
    worker: int | None,
    as_json: bool,
) -> None:
    """Say where a request would go now, and why. Nothing is sent, and nothing is used up.

    With --claims, say whose a token with these claims would be, by which rule, and which rules nearly match. Nothing is
    checked about the token: claims are taken as proved. With --model, too, go on as that consumer.

    Exit status: 0 it would be sent, 1 it would be refused (by some worker), 2 it cannot be said.
    """
    matched: dict[str, Any] | None = None
    if claims is not None or certificate is not None:
        if consumer is not None:
            raise click.UsageError("--claims say who asks: leave out --as")
        matched = _whose(at, old, claims, issuer, certificate)
        consumer = matched["consumer"]
        if not consumer or (model is None and body is None):
            click.echo(json.dumps({"match": matched}) if as_json else matches(matched))
            ctx.exit(0 if consumer else 1)
    elif issuer is not None:
        raise click.UsageError("--issuer says whose --claims are: write both")
    if consumer is None:
        raise click.UsageError("who asks? Write --as NAME, or --claims and --issuer")
    if body is not None and (tokens is not None or most is not None or stream):
        raise click.UsageError("--body is the whole request: leave out --tokens, --max-tokens and --stream")
    if old and worker is not None:
        raise click.UsageError("--from asks no gateway, so there is no --worker to choose")
    if operation is not None and path is not None:
        raise click.UsageError("--path says which operation is meant: leave out --operation")
    raw = None if body is None else _read(body)

    def answered(operation: str | None) -> tuple[list[dict[str, Any]], list[int]]:
        try:
            question = _question(consumer, model, tokens, most, stream, raw, operation, path, chance)
        except Refused as e:
            return [refused_early(e.reason, e.message)], []
        return ([_alone(old, question)], []) if old else _asked(at, question, worker)

    found, silent = answered(operation)
    offers = found[0].get("offers")
    if operation is None and path is None and offers and found[0]["outcome"]["reason"] == "grant.operation":
        found, silent = answered(offers[0])
    if as_json:
        click.echo(json.dumps({"workers": found, "silent": silent, **({"match": matched} if matched else {})}))
    else:
        click.echo("\n\n".join([*([matches(matched)] if matched else []), text(found, silent)]))
    ctx.exit(0 if all(told["outcome"]["sent"] for told in found) else 1)


def _whose(
    at: At, old: tuple[str, ...], claims: str | None, issuer: str | None, certificate: str | None
) -> dict[str, Any]:
    """Whose a token or certificate is: by these files, or the running gateway."""
    asked: dict[str, Any] = {"issuer": issuer or "", "claims": {} if claims is None else _json(claims, "--claims")}
    if certificate is not None:
        asked["certificate"] = _json(certificate, "--certificate")
    if claims is not None and issuer is None:
        raise click.UsageError("whose claims are these? Write --issuer NAME, as it is called under issuers:")
    if not old:
        try:
            told: dict[str, Any] = ask("POST", "/v1/explain", at, asked)["match"]
        except click.ClickException as e:
            if isinstance(e, click.UsageError):
                raise
            raise CannotExplain(e.message) from None
        return told
    loaded = load(old, start=False, end="nothing was explained", quiet=True)
    snapshot, directory = loaded.snapshot, loaded.directory
    assert snapshot is not None and directory is not None
    if issuer is not None and issuer not in [one.name for one in snapshot.issuers]:
        known = ", ".join(one.name for one in snapshot.issuers) or "none"
        raise CannotExplain(f'no issuer is called "{issuer}"; declared: {known}')
    try:
        return whose(Callers(directory), principal(asked))
    except NoQuestion as e:
        raise CannotExplain(str(e)) from None


def _json(text: str, option: str) -> Any:
    raw = text.encode() if text.lstrip().startswith("{") else _read(text)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise click.UsageError(f"{option} is no JSON: a file of it, - for stdin, or the text itself") from None
    if not isinstance(found, dict):
        raise click.UsageError(f'{option} is a map: {{"azp": "...", "roles": ["..."]}}')
    return found


def _question(
    consumer: str, model: str | None, tokens: int | None, most: int | None, stream: bool, body: bytes | None,
    operation: str | None, path: str | None, chance: float,
) -> Question:  # fmt: skip
    """What is asked. Raises Refused where the path or the body itself is not accepted."""
    api, named = _row(operation or OPERATION, model) if path is None else _match(path)
    if named is not None and model is not None and named != model:
        raise click.UsageError(f'--path names the model "{named}", --model "{model}": write one of them')
    if named is None and model is None and body is None:
        raise click.UsageError("which model? Write --model NAME, or the request itself: --body FILE")
    if body is None:
        raw = _made(model, most, stream)
    elif named is None and model is not None:
        raise click.UsageError("with this --path the body names the model: leave out --model")
    else:
        raw = body
    try:
        fields = api.fields(raw)
        facts = api.facts(fields, raw)
    except BadRequest as e:
        raise Refused(e.reason, e.message) from None
    size = len(raw)
    if body is None:
        exact = facts.media == facts.estimate
        facts.estimate = TOKENS if tokens is None else tokens
        facts.media = facts.estimate if exact else min(facts.media, facts.estimate)
        size = max(size, 4 * facts.estimate)
    if api.takes == "form" and facts.special is not None:
        facts.special.form = body is None or not cast(FormApi, api).or_json
    chance = min(chance, 0.999999)
    return Question(consumer, api.name, named, facts, size, deciding(fields), chance, api.repeatable)


def _row(operation: str, model: str | None) -> tuple[Api, str | None]:
    """By its name; and the model, where its path would name it."""
    for api in rows([operation]):
        if api.name == operation:
            return api, model if api.deployment_path else None
    near = get_close_matches(operation, APIS, 1)
    what = f'did you mean "{near[0]}"?' if near else f"it is one of {', '.join(APIS)}, or POST and a path"
    raise click.UsageError(f'no operation is called "{operation}"; {what}')


def _match(path: str) -> tuple[Api, str | None]:
    target, _, query = path.partition("?")
    match = Paths(rows(called(target))).match("POST", target.encode(), query.encode())
    if isinstance(match, str):
        raise Refused(match, f"{path} is no operation of this gateway.")
    return match.api, match.path_model


def _made(model: str | None, most: int | None, stream: bool) -> bytes:
    request: dict[str, Any] = {"model": model, "messages": []}
    if most is not None:
        request["max_tokens"] = most
    if stream:
        request["stream"] = True
    return json.dumps(request).encode()


def _read(body: str) -> bytes:
    try:
        if body == "-":
            return sys.stdin.buffer.read()
        with open(body, "rb") as f:
            return f.read()
    except OSError as e:
        raise click.UsageError(f"{body} cannot be read: {(e.strerror or 'error').lower()}") from None


def _asked(at: At, question: Question, worker: int | None) -> tuple[list[dict[str, Any]], list[int]]:
    """By the running gateway; and which of its workers did not answer."""
    try:
        answer = ask("POST", "/v1/explain", at, question.plain())
    except click.ClickException as e:
        if isinstance(e, click.UsageError):
            raise
        raise CannotExplain(e.message) from None
    found: list[dict[str, Any]] = answer["workers"]
    if worker is None:
        return found, answer["silent"]
    chosen = [told for told in found if told["worker"] == worker]
    if not chosen:
        raise CannotExplain(f"{worker} is no worker of it. They are: {', '.join(str(t['worker']) for t in found)}")
    return chosen, []


def _alone(files: tuple[str, ...], question: Question) -> dict[str, Any]:
    """By a configuration alone."""
    loaded = load(files, start=False, end="nothing was explained", quiet=True)
    snapshot, directory = loaded.snapshot, loaded.directory
    assert snapshot is not None and directory is not None
    try:
        question.key = key_of(question.consumer, directory)
        return {"worker": None, **explain(World(snapshot, directory, Kept()).assume(), question, 0.0)}
    except Unknown as e:
        raise CannotExplain(str(e)) from None
