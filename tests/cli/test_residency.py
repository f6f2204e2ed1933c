"""`sluicegate residency` without a gateway: a proof of files alone, evidence from a ledger of any age."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluicegate.core.booked import Circumstances, Place, Settled, Tried
from sluicegate.main import program
from sluicegate.spec.residency import AGREES, CONTRADICTS, SILENT, UNDECLARED, verdict
from sluicegate.stores.sqlite import reader
from sluicegate.stores.sqlite.ledger import Ledger
from sluicegate.stores.sqlite.schema import LEDGER
from tests.spec.test_edges import stamp

NOW_US = 1_760_000_000_000_000


def run(*args: str) -> Result:
    return CliRunner().invoke(program, ["residency", *args], env={"SECRET": "s" * 64, "APP_KEY": "k" * 32})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(stamp())
    return path


def test_the_proof_of_a_file_needs_no_gateway(file: Path):
    done = run("prove", "--from", str(file))
    assert done.exit_code == 0, done.output
    assert "boundary eu: westeurope, swedencentral; at most data_zone\ntenants: retail\n" in done.output
    assert "not served here: its tenants (none) are refused" in done.output
    assert done.output.count("\nholds: ") == 1 and "assumed:\n  regions are as declared" in done.output
    proof = json.loads(run("prove", "--from", str(file), "--json").output)
    assert proof["holds"] and proof["boundaries"][0]["edges"][0]["edge"] == "gateway"


def test_what_was_overridden_by_hand_is_among_what_is_assumed(file: Path):
    file.write_text(stamp().replace("g: {model: m, version: 1, sku: GlobalStandard}",
                                    "g: {model: m, version: 1, sku: GlobalStandard, processing: regional}"))  # fmt: skip
    done = run("prove", "--from", str(file))
    assert done.exit_code == 0
    assert "weu/g is said to process regional, though it is GlobalStandard (global)" in done.output


def test_a_file_without_boundaries_proves_nothing(file: Path):
    text = stamp().replace(", boundaries: [eu]", "").replace("{boundary: eu}", "{}")
    begin, end = text.index("boundaries:\n"), text.index("instances:")
    file.write_text(text[:begin] + text[end:])
    done = run("prove", "--from", str(file))
    assert done.exit_code == 1 and "no boundary is declared" in done.output


def test_a_file_that_crosses_is_no_proof(file: Path):
    file.write_text(stamp(region="eastus"))
    assert run("prove", "--from", str(file)).exit_code == 2


@pytest.mark.parametrize(
    ("declared", "seen", "says"),
    [
        ("westeurope regional Standard", "West Europe", AGREES), ("westeurope regional Standard", "westeurope", AGREES),
        ("westeurope regional Standard", "Sweden Central", CONTRADICTS),
        ("westeurope data_zone DataZoneStandard", "Sweden Central", AGREES),
        ("westeurope data_zone DataZoneStandard", "East US", CONTRADICTS),
        ("westeurope global GlobalStandard", "Japan East", AGREES), ("westeurope regional Standard", "", SILENT),
        ("onprem-fra regional Standard", "onprem-fra", AGREES), ("onprem-fra data_zone X", "West Europe", CONTRADICTS),
        (" regional Standard", "West Europe", AGREES), ("", "West Europe", UNDECLARED),
    ],
)  # fmt: skip
def test_what_an_answer_says_of_what_was_declared(declared: str, seen: str, says: str):
    assert verdict(declared, seen) == says


def settled(n: int, *tried: Tried, tenant: str = "retail") -> Settled:
    return Settled(
        f"{n:032x}", NOW_US + n * 1000, 5, None, "chat_completions", 1, tenant, "chat", False, 200, "", "done", "settled",
        "upstream", (1, 0, 0, 1, 0), "", "USD", 1, 0, "p", 1, tried, (), Circumstances(boundary="eu"),
    )  # fmt: skip


def test_evidence_counts_every_call_also_of_records_from_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path
):
    """Records without a region, as earlier versions wrote them, are said to be so; pages end nowhere in particular."""
    monkeypatch.setattr(reader, "CHUNK", 7)
    old = Tried(1, 0, 1, 429, "upstream.throttled.rate", "all", "overhead")
    new = Tried(
        2, 0, 1, 200, "", "all", "consumer", None, None, "", "Sweden Central", "swedencentral regional Standard"
    )
    bad = new._replace(region="East US")
    ledger = Ledger(str(tmp_path / LEDGER))
    records = [settled(n, old, new) for n in range(50)] + [settled(60, bad, tenant="labs")]
    ledger.move("w", Place(1, 1, "n", "cafe"), [], [(r, "n", "cafe") for r in records])
    ledger.close()

    def report(*more: str) -> Any:
        done = run("report", "--data", str(tmp_path), "--since", "2025-10-01", "--until", "2025-11-01", "--json", *more)
        return done.exit_code, json.loads(done.output)

    status, told = report()
    assert status == 1 and told["calls"] == 101
    assert told["verdicts"] == {"agrees": 50, "contradicts": 1, "no region named": 0, "undeclared": 50}
    (wrong,) = told["contradictions"]
    assert (wrong["id"], wrong["tenant"], wrong["seen"]) == (f"{60:032x}", "labs", "East US")
    assert report("--tenant", "retail")[0] == 0
    rows = run("report", "--data", str(tmp_path), "--since", "2025-10-01", "--until", "2025-11-01", "--csv")
    assert len(rows.output.splitlines()) == 102 and rows.exit_code == 1
