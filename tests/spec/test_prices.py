"""Prices: the book's by default, what was agreed on before them, all in one currency."""

from fractions import Fraction

import pytest

from sluicegate.core.events import Usage
from sluicegate.core.pricing import Tariffs
from tests.spec.reading import bottom, compiled, found

NOW = 1.8e9
USED = Usage(input=1_000_000, output=1_000_000)


def cost(prices: str, deployment: str = "") -> tuple[str, int] | None:
    text = bottom(f"prices: {prices}" if prices else "")
    text = text.replace("version: 2024-11-20}", f"version: 2024-11-20{deployment}}}")
    text = text.replace("    auth:\n", "    region: westeurope\n    auth:\n")
    return Tariffs(compiled(text)[0].prices).cost(1, USED, "", NOW)


def test_the_book_prices_what_nothing_else_does_and_can_be_left_out():
    book = cost("{currency: USD}")
    assert book is not None and book[0].startswith("gpt-4o@2024-11-20/Standard") and book == cost("{book: builtin}")
    assert cost("{book: none}") is None


def test_a_rate_turns_the_book_into_another_currency():
    dollars, euros = cost("{currency: USD}"), cost("{currency: EUR, rates: {USD: 0.5}}")
    assert dollars and euros and euros[1] * 2 == dollars[1]


def test_a_contract_comes_before_the_book_from_its_day_on():
    agreed = "{currency: EUR, rates: {USD: 0.5}, contracts: [{model: gpt-4o, version: 2024-11-20, %s}]}"
    prices = "input: 2.30 EUR/Mtok, output: 9.20 EUR/Mtok"
    assert cost(agreed % prices) == ("contract gpt-4o@2024-11-20", 11_500_000_000)
    assert cost(agreed % f"from: 2099-01-01, {prices}") == cost("{currency: EUR, rates: {USD: 0.5}}")
    assert cost(agreed % "input: 4 USD/Mtok, output: 0 USD/Mtok") == ("contract gpt-4o@2024-11-20", 2_000_000_000)


def test_a_contract_for_one_deployment_comes_before_one_for_its_model():
    text = """\
    prices:
      currency: EUR
      book: none
      contracts:
        - {model: gpt-4o, version: 2024-11-20, input: 1 EUR/Mtok, output: 1 EUR/Mtok}
        - {instance: weu, deployment: gpt-4o, amount: 0.85 EUR, per: ptu_hour}
    """
    snapshot, _ = compiled(
        bottom(text).replace("version: 2024-11-20}", "version: 2024-11-20, sku: ProvisionedManaged}", 1)
    )
    ((number, (price,)),) = snapshot.prices.deployments
    assert (number, price.id) == (1, "contract weu/gpt-4o ptu_hour")
    (rate,) = price.rates
    assert Fraction(rate[1], rate[2]) == Fraction(85, 100) * 10**12


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{currency: EUR}", "18:20 prices.currency: the builtin book is in USD, and there is no rate from it to EUR | write "
         "rates: {USD: 0.92}, or book: none"),
        ("{currency: euro}", '18:20 prices.currency: "euro" is not a name | three capitals, such as EUR'),
        ("{rates: {USD: 1}}", "18:18 prices.rates.USD: is the currency that costs are told in | remove it"),
        ("{rates: {EUR: 0}}", '18:23 prices.rates.EUR: "0" is not a rate | write a rate such as 0.92'),
        ("{contracts: [{model: gpt-4o, input: 1 USD/Mtok}]}", "18:22 prices.contracts: does not say what it is for | write "
         "instance and deployment, or model and version"),
        ("{contracts: [{model: x, version: 1, input: 1 USD/Mtok}]}", "18:30 prices.contracts.model: no deployment is of this "
         "model and version | remove it, or correct one of them"),
        ("{contracts: [{instance: weu, deployment: gpt-4, input: 1 USD/Mtok}]}", "18:50 prices.contracts.deployment: no "
         'deployment is called "weu/gpt-4"; did you mean "weu/gpt-4o"?'),
        ("{contracts: [{instance: weu, deployment: gpt-4o}]}", "18:22 prices.contracts: says no price | write input and "
         "output, or amount and per: ptu_hour"),
        ("{contracts: [{instance: weu, deployment: gpt-4o, amount: 1 USD, per: ptu_hour}]}", "18:78 prices.contracts.per: has "
         "no effect on a deployment of Standard | write input and output"),
        ("{contracts: [{instance: weu, deployment: gpt-4o, amount: 1 USD}]}", "18:22 prices.contracts: amount and per belong "
         "together | write amount: 0.85 EUR and per: ptu_hour"),
        ("{contracts: [{instance: weu, deployment: gpt-4o, input: 1 USD/Mtok, output: 1 EUR/Mtok}]}", "18:22 "
         "prices.contracts: has prices in two currencies | a contract has one"),
        ("{contracts: [{instance: weu, deployment: gpt-4o, input: 1 CHF/Mtok}]}", "18:22 prices.contracts: is in CHF, which "
         "has no rate | write rates: {CHF: ...}, how many USD one of it is"),
        ("{contracts: [{instance: weu, deployment: gpt-4o, input: 1 USD}]}", '18:65 prices.contracts.input: "1 USD" is not a '
         "price | write a price such as 2.30 EUR/Mtok"),
        ("{contracts: [{instance: weu, deployment: gpt-4o, input: 1 USD/Mtok, from: 2026-02-30}]}", "18:83 "
         'prices.contracts.from: "2026-02-30" is not a date | write a date such as 2026-01-01'),
    ],
)  # fmt: skip
def test_a_price_that_cannot_hold_is_refused(text: str, problem: str):
    assert found(bottom(f"prices: {text}")) == [problem]
