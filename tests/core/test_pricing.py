import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from sluicegate.apis.chat_usage import usage_of as chat_usage
from sluicegate.core.events import Usage
from sluicegate.core.pricing import Contract, NoRate, Priced, Tariffs, compile_prices, nano, pico, select
from sluicegate.core.settings import Price, Prices
from sluicegate.spec.book import builtin, day
from tests.core.counting import anthropic, openai

EXAMPLES = json.loads((Path(__file__).parent / "cost-examples.json").read_text())["examples"]
PROCESSING = {
    "GlobalStandard": "global",
    "GlobalBatch": "global",
    "DataZoneStandard": "data_zone",
    "ProvisionedManaged": "regional",
}
REGION = {"eu": "swedencentral", "r2": "swedencentral", "global": ""}


def target(of: dict, number: int = 1) -> Priced:
    return Priced(
        number,
        "i/d",
        of["model"] if of["model"] != "*" else "gpt-4o",
        of["version"],
        of["sku"],
        PROCESSING[of["sku"]],
        REGION[of["zone"]],
    )


def quantities(example: dict) -> dict:
    usage = example["usage"]
    if "seconds" in usage:
        return {"audio_duration": Fraction(str(usage["seconds"]))}
    if "minutes" in usage:
        return {"ptu": Fraction(usage["deployment"]["ptu"] * usage["minutes"], 60)}
    return (anthropic if example["api"] == "messages" else openai)(usage)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e["id"])
def test_the_golden_examples_cost_what_they_say(example):
    """From the provider's usage through the builtin book: no rate is copied from the example."""
    of, used = example["priced_as"], quantities(example)
    if "unit" not in of:
        assert used == {k: v for k, v in example["quantities"].items() if v or k == "input"}
    prices = dict(compile_prices([target(of)], builtin()).deployments)[1]
    prompt = sum(n for c, n in used.items() if "output" not in c) if "unit" not in of else 0
    price = select(prices, of["tier"], prompt, day(of["at"]))
    assert price is not None
    for class_, rate in example["rates_usd"].items():
        amount, per = next((a, p) for c, a, p in price.rates if c == class_)
        assert Fraction(amount, per) == Fraction(rate) * 10**12 / {"audio_duration": 3600, "ptu": 1}.get(class_, 10**6)
    exact = pico(price, used)
    assert exact == example["expect"]["cost_pico_usd"]
    assert nano(exact.numerator, exact.denominator) * 1000 == exact, "every example is whole in nano"
    assert nano(exact.numerator, exact.denominator * 1000) == example["expect"]["cost_micro_usd"], "the same rounding"


@pytest.mark.parametrize(
    "example", [e for e in EXAMPLES if "unit" not in e["priced_as"] and e["id"][:2] != "07"], ids=lambda e: e["id"]
)
def test_the_bound_form_says_the_same_as_the_exact_one(example):
    of, used = example["priced_as"], quantities(example)
    hour = used.get("cache_write_1h", 0)
    usage = Usage(
        used["input"], used.get("output", 0), used.get("cached_input", 0), used.get("cache_write", 0) + hour, hour=hour
    )
    cost = Tariffs(compile_prices([target(of)], builtin())).cost(1, usage, of["tier"], day(of["at"]))
    assert cost is not None and cost[1] * 1000 == example["expect"]["cost_pico_usd"]


def test_provisioned_tokens_cost_nothing_and_the_price_says_so():
    ptu = Priced(4, "i/ptu", "gpt-4o", "2024-11-20", "ProvisionedManaged", "regional", "swedencentral")
    found = Tariffs(compile_prices([ptu], builtin())).cost(4, Usage(1000, 500, reasoning=5), "", day("2026-09-01"))
    assert found == ("ProvisionedManaged/r2 ptu_hour", 0)


def test_no_price_is_none_and_never_zero():
    nothing = Tariffs(Prices())
    assert nothing.cost(1, Usage(10, 10), "", 1.8e9) is None
    unknown = Priced(1, "i/d", "mistral-small", "3.2", "Standard", "regional", "onprem-fra")
    assert Tariffs(compile_prices([unknown], builtin())).cost(1, Usage(1, 1), "", 1.8e9) is None
    only_input = Prices("USD", ((1, (Price("p", (("input", 5, 1),)),)),))
    assert Tariffs(only_input).cost(1, Usage(10, 1), "", 1.8e9) is None
    assert Tariffs(only_input).cost(1, Usage(1000), "", 1.8e9) == ("p", 5)


def test_a_tier_without_long_prices_bills_long_prompts_as_standard():
    prices = (Price("s", ()), Price("long", (), prompt_over=100), Price("fast", (), tier="priority"))
    assert [select(prices, t, n, 1.0).id for t, n in (("", 100), ("", 101), ("priority", 100), ("priority", 101))] == [
        "s",
        "long",
        "fast",
        "long",
    ]


def test_a_contract_comes_before_the_book_from_its_day_on_in_its_own_currency():
    chat = Priced(1, "weu/gpt-4o", "gpt-4o", "2024-11-20", "GlobalStandard", "global", "")
    euro = {"USD": Fraction("0.92")}
    contract = Contract(
        "contract 1",
        (("input", Fraction("2.30") / 10**6), ("output", Fraction("9.20") / 10**6)),
        "EUR",
        model="gpt-4o",
        version="2024-11-20",
        since=day("2026-06-01"),
    )
    tariffs = Tariffs(compile_prices([chat], builtin(), [contract], "EUR", euro))
    usage = Usage(1000, 100)
    assert tariffs.cost(1, usage, "", day("2026-07-01")) == ("contract 1", 3_220_000)
    assert tariffs.cost(1, usage, "", day("2026-05-01")) == (
        "gpt-4o@2024-11-20/GlobalStandard/global",
        round(0.92 * 3_500_000),
    )
    with pytest.raises(NoRate, match="USD need a rate to EUR"):
        compile_prices([chat], builtin(), [], "EUR")


def test_a_contract_for_the_deployment_comes_before_one_for_its_model():
    chat = Priced(1, "weu/gpt-4o", "gpt-4o", "1", "Standard", "regional", "")
    of = (("input", Fraction(1)),)
    both = [
        Contract("model", of, "USD", model="gpt-4o", version="1"),
        Contract("mine", of, "USD", deployment="weu/gpt-4o"),
    ]
    assert Tariffs(compile_prices([chat], None, both)).cost(1, Usage(1), "", 1.0) == ("mine", 10**9)


@given(st.integers(0, 10**15), st.integers(1, 10**6))
def test_rounding_is_half_to_even_and_once(amount, per):
    assert nano(amount, per) == round(Fraction(amount, per * 1000))


@given(*[st.integers(0, 10**6)] * 5, st.integers(1, 10**9), st.integers(1, 99))
def test_bound_and_exact_agree_whatever_the_rate(a, b, c, d, e, amount, per):
    price = Price("p", (("input", amount, per), ("output", amount * 4, per), ("cached_input", amount, per * 3)))
    usage = Usage(a, b, c, d, e)
    exact = pico(price, {"input": a, "output": b + e, "cached_input": c, "cache_write": d})
    assert Tariffs(Prices("USD", ((1, (price,)),))).cost(1, usage, "", 1.0) == ("p", round(exact / 1000))


def test_the_data_zone_price_is_a_tenth_more():
    """A lint of the book itself: a wrong row breaks a regularity of the list."""
    chat = [
        Priced(n, "i/d", "gpt-4o", "2024-11-20", sku, how, "swedencentral")
        for n, (sku, how) in enumerate([("GlobalStandard", "global"), ("DataZoneStandard", "data_zone")])
    ]
    tariffs = Tariffs(compile_prices(chat, builtin()))
    world, zone = (tariffs.cost(n, Usage(1_000_000, 1_000_000), "", day("2026-09-01"))[1] for n in (0, 1))
    assert zone * 10 == world * 11


def cost(model: str, version: str, usage: Usage, **media: int) -> int | None:
    """Nano-USD by the builtin book, of a global deployment."""
    usage.media = media or None
    prices = compile_prices([Priced(1, "i/d", model, version, "GlobalStandard", "global", "")], builtin())
    found = Tariffs(prices).cost(1, usage, "default", day("2026-11-21"))
    return None if found is None else found[1]


def test_audio_and_images_have_prices_of_their_own():
    # 20 audio tokens at 6 and 6 text tokens at 10 USD a million
    assert cost("gpt-4o-transcribe", "2025-03-20", Usage(20, 6), audio_input=20) == 20 * 6000 + 6 * 10_000
    # 12 text tokens at 0.60, 54 audio tokens at 12
    heard = cost("gpt-4o-mini-tts", "2025-03-20", Usage(12, 54), audio_output=54, character=45)
    assert heard == 12 * 600 + 54 * 12_000
    # 13 text tokens at 5, 323 of images at 10, 272 of images at 40
    drawn = cost("gpt-image-1", "2025-04-15", Usage(336, 272), image_input=323, image_output=272, image=1)
    assert drawn == 13 * 5000 + 323 * 10_000 + 272 * 40_000


def test_row_G7_sound_in_a_chat_costs_what_sound_costs():
    """As an answer of gpt-4o-audio-preview says it: 100 tokens of text at 2.50 and 60 of sound at 40; 20 at 10, 30 at
    80 USD a million."""
    said = b'{"prompt_tokens":160,"completion_tokens":50,"prompt_tokens_details":{"audio_tokens":60,"cached_tokens":0},'
    usage = chat_usage(Raw(said + b'"completion_tokens_details":{"audio_tokens":30}}'))
    assert usage is not None and (usage.input, usage.output) == (160, 50)
    paid = cost("gpt-4o-audio-preview", "2024-12-17", usage, **usage.media)
    assert paid == 100 * 2500 + 60 * 40_000 + 20 * 10_000 + 30 * 80_000


def test_what_is_billed_by_the_image_is_and_tokens_are_not():
    assert cost("FLUX-1.1-pro", "1", Usage(5, 4160), image_output=4160, image=3) == 3 * 40_000_000


def test_sound_without_a_price_by_the_second_costs_nothing_that_we_know():
    assert cost("gpt-4o-transcribe", "2025-03-20", Usage(), audio_duration=30) is None


def test_an_image_of_a_text_model_has_no_price():
    assert cost("gpt-4o", "2024-11-20", Usage(5, 4160), image_output=4160) is None
    assert cost("gpt-4o", "2024-11-20", Usage(5, 10)) is not None


def test_a_price_by_the_second_or_character():
    for class_, rate in (("audio_duration", Fraction(36, 360_000)), ("character", Fraction(15, 10**6))):
        agreed = Contract("c", ((class_, rate),), "USD", deployment="i/d")
        prices = compile_prices([Priced(1, "i/d", "x", "1", "Standard", "regional", "")], None, [agreed])
        usage = Usage(12, 34)
        usage.media = {class_: 30, "audio_output": 34}
        assert Tariffs(prices).cost(1, usage, "default", 1e9) == ("c", nano(int(rate * 30 * 10**12)))
