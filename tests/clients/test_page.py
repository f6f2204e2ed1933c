"""docs/clients.md says what `./dev clients` knows: its rows, its versions, and nothing that a run would not write."""

from sluicegate.apis import APIS
from tests.clients.page import PAGE, cell, read, tables, versions, written
from tests.clients.roster import CLIENTS, GROUPS, HEAVY, OPERATIONS, SPOKEN, Client, available
from tests.clients.truths import TRUTHS

SEEN = {"http": True, "https": True}


def as_it_should_be(client: Client) -> dict[str, dict[str, bool]]:
    return dict.fromkeys(available(client), SEEN)


def test_the_page_has_the_rows_and_versions_that_the_harness_knows():
    page = read(PAGE.read_text("utf-8"))
    assert list(page) == [client.name for client in CLIENTS], "./dev clients writes docs/clients.md anew"
    for client in CLIENTS:
        row = page[client.name]
        assert row["version"] == versions(client), f"{client.name}: ./dev clients tries the locked one"
        for name, operation in OPERATIONS.items():
            expected = cell(client, name, SEEN if name in available(client) else {})
            assert row.get(operation.title, "") == expected, f"{client.name}, {operation.title}"


def test_the_page_is_what_a_run_in_which_all_is_well_writes():
    """So its counts are right, and it says of no operation that it fails."""
    page = PAGE.read_text("utf-8")
    assert page == written(page, {client.id: as_it_should_be(client) for client in CLIENTS})


def test_a_failure_is_shown_with_its_scheme():
    results = {client.id: as_it_should_be(client) for client in CLIENTS}
    first = CLIENTS[0]
    results[first.id] = {**results[first.id], "chat": {"http": True, "https": False}}
    found = read(written(PAGE.read_text("utf-8"), results))
    assert found[first.name]["chat"] == "**fails** over https"
    assert tables(results) != tables({client.id: as_it_should_be(client) for client in CLIENTS})


def test_every_operation_that_the_gateway_speaks_is_tried_by_some_client():
    assert set(APIS) <= set(SPOKEN), "add them to tests/clients/roster.py, with a method in the programs"
    tried = {OPERATIONS[name].api for client in CLIENTS for name in available(client)}
    assert set(SPOKEN) <= tried, "no client tries these"


def test_every_client_has_a_program_with_its_operations_and_every_operation_a_truth():
    assert len({client.id for client in CLIENTS}) == len({client.name for client in CLIENTS}) == len(CLIENTS)
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(OPERATIONS)
    assert set(TRUTHS) >= {name for client in CLIENTS for name in available(client)}
    for client in CLIENTS:
        folder, ending = ("node", "mjs") if client.runtime == "node" else ("python", "py")
        assert (HEAVY / folder / f"{client.module}.{ending}").exists(), client.name
        assert set(client.operations) <= set(OPERATIONS) and not set(client.notes) & set(client.operations)
