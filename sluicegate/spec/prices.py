"""Prices, compiled: the book's, and what was agreed on instead, for each deployment in one currency."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sluicegate.core.pricing import PTU, Contract, Priced, compile_prices
from sluicegate.core.settings import Price, Prices
from sluicegate.core.snapshot import Deployment
from sluicegate.spec.book import builtin
from sluicegate.spec.kinds import Context, closest, quoted
from sluicegate.spec.language import Document
from sluicegate.spec.money import ContractSpec, Money
from sluicegate.spec.problems import Path
from sluicegate.spec.skus import PROVISIONED

CLASSES = {"input": "input", "cached": "cached_input", "cache_write": "cache_write", "output": "output"}
MTOK = 1_000_000
BOOK = "USD"
"""The currency of the builtin book."""


def price(document: Document, deployments: Sequence[Deployment], labels: Sequence[str], cx: Context) -> Prices:
    """The prices of all deployments; what is wrong with `prices` is reported."""
    spec = document.prices
    if spec.currency in spec.rates:
        cx.say(("prices", "rates", spec.currency), "is the currency that costs are told in", "remove it", key=True)
    label_of = dict(zip(labels, deployments, strict=True))
    contracts = []
    for n, said in enumerate(spec.contracts):
        contract = _contract(document, ("prices", "contracts", n), said, label_of, cx)
        if contract is not None:
            contracts.append(contract)
    rates = {name: Fraction(rate) for name, rate in spec.rates.items()}
    regions = [i.region for i in document.instances.values()]
    alike: dict[tuple[str, ...], tuple[Price, ...]] = {}
    prices = []
    single = {c.deployment for c in contracts if c.deployment}
    book = builtin() if spec.book == "builtin" else None
    if book is not None and spec.currency != BOOK and BOOK not in spec.rates:
        what = f"the builtin book is in {BOOK}, and there is no rate from it to {spec.currency}"
        cx.say(("prices", "currency"), what, f"write rates: {{{BOOK}: 0.92}}, or book: none")
        book = None
    for label, d in label_of.items():
        region = regions[d.instance - 1]
        same = (d.model, d.version, d.sku, d.processing, region, label if label in single else "")
        if same not in alike:
            target = Priced(d.number, label, d.model, d.version, d.sku, d.processing, region)
            found = compile_prices([target], book, contracts, spec.currency, rates).deployments
            alike[same] = found[0][1] if found else ()
        if alike[same]:
            prices.append((d.number, alike[same]))
    return Prices(spec.currency, tuple(prices))


def _contract(
    document: Document, at: Path, spec: ContractSpec, labels: dict[str, Deployment], cx: Context
) -> Contract | None:
    """One agreement, or None after saying why it cannot hold."""
    if cx.problems.damaged(at):
        return None
    label = f"{spec.instance}/{spec.deployment}" if spec.instance or spec.deployment else ""
    selector = f"{spec.model}@{spec.version}" if spec.model or spec.version else ""
    if bool(label) == bool(selector) or not ((spec.instance and spec.deployment) or (spec.model and spec.version)):
        cx.say(at, "does not say what it is for", "write instance and deployment, or model and version", key=True)
    elif label and label not in labels and not cx.problems.damaged(("instances", spec.instance)):
        said = (
            cx.sealed.get((*at, key), text)
            for key, text in (("instance", spec.instance), ("deployment", spec.deployment))
        )
        what = f"no deployment is called {quoted('/'.join(said))}{closest(label, labels)}"
        cx.say((*at, "deployment"), what)
    elif selector and not any((d.model, d.version) == (spec.model, spec.version) for d in labels.values()):
        if not cx.problems.damaged(("instances",)):
            cx.say((*at, "model"), "no deployment is of this model and version", "remove it, or correct one of them")
    tokens = {key: getattr(spec, key) for key in CLASSES if getattr(spec, key) is not None}
    if spec.amount is not None and tokens:
        cx.say((*at, "amount"), "stands beside prices of tokens", "a contract has one or the other", key=True)
    elif spec.amount is None and not tokens:
        cx.say(at, "says no price", "write input and output, or amount and per: ptu_hour", key=True)
    elif (spec.amount is None) != (spec.per is None):
        cx.say(at, "amount and per belong together", "write amount: 0.85 EUR and per: ptu_hour", key=True)
    elif spec.amount is not None and label in labels and labels[label].tier != PROVISIONED:
        cx.say((*at, "per"), f"has no effect on a deployment of {labels[label].sku}", "write input and output")
    paid: list[Money] = [*tokens.values(), *([spec.amount] if spec.amount is not None else [])]
    for money in paid:
        if money.currency != paid[0].currency:
            cx.say(at, "has prices in two currencies", "a contract has one", key=True)
            break
        if money.currency != document.prices.currency and money.currency not in document.prices.rates:
            hint = f"write rates: {{{money.currency}: ...}}, how many {document.prices.currency} one of it is"
            cx.say(at, f"is in {money.currency}, which has no rate", hint, key=True)
            break
    if cx.problems.damaged(at):
        return None
    found = [(CLASSES[key], Fraction(money.amount) / MTOK) for key, money in tokens.items()]
    if spec.amount is not None:
        found = [(PTU, Fraction(spec.amount.amount))]
    name = f"contract {label or selector}" + (" ptu_hour" if spec.amount is not None else "")
    return Contract(name, tuple(found), paid[0].currency, label, spec.model, spec.version, spec.tier, spec.from_ or 0.0)
