"""Connecting: names, addresses, slots and time limits, and what is said when it fails."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from sluicegate.core.addresses import forbidden
from tests.upstream.rig import Answer, Rig, Server, Wire, exchange, instance, ok, run, spin, until


class Names:
    """A name server: what it says, and how often it was asked."""

    def __init__(self, **names: Any) -> None:
        self.names = names
        self.asked = 0

    async def __call__(self, host: str, port: int, **more: Any) -> Any:
        self.asked += 1
        said = self.names[host.replace(".", "_")]
        if isinstance(said, asyncio.Event):
            await said.wait()
        if isinstance(said, OSError):
            raise said
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in said]


class Knocks:
    """Connects as the test says, by address: an error, a wire, or an event after which there is one."""

    def __init__(self, **doors: Any) -> None:
        self.doors = {k.strip("_").replace("_", "."): v for k, v in doors.items()}
        self.seen: list[str] = []
        self.wires: list[Wire] = []

    async def __call__(self, factory: Callable[[], Any], host: str, port: int) -> Any:
        self.seen.append(host)
        door = self.doors.get(host)
        if isinstance(door, asyncio.Event):
            await door.wait()
        if isinstance(door, OSError):
            raise door
        wire = Wire()
        self.wires.append(wire)
        return await wire.connect(factory, host, port)


def run_with(names: Names, main: Any) -> None:
    class Loop(uvloop.Loop):
        getaddrinfo = names.__call__  # type: ignore[assignment]

    run(main, Loop)


def test_the_causes_of_a_failed_connect_are_told_apart() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as s:
            nobody = s.getsockname()[1]
        for error, how in {
            ConnectionRefusedError(): "connect.refused",
            TimeoutError(): "connect.timeout",
            OSError(101, "Network is unreachable"): "connect.failed",
            ConnectionResetError(): "connect.failed",
        }.items():
            if how == "connect.timeout":
                continue  # see below
            rig = Rig(Knocks(_127_0_0_1=error))
            answer = rig.start(instance(nobody))
            assert await answer.over() == how
            assert answer.sent == "nothing" and rig.counts[:4] == (0, 0, 0, 0)
        assert await Rig().start(instance(nobody)).over() == "connect.refused"
        assert await Rig().start(instance(1, host="no-such-host.invalid")).over() == "connect.dns"
        assert await Rig().start(instance(1, host="a..b")).over() == "connect.dns"
        assert await Rig().start(instance(1, host="a" * 64 + ".example")).over() == "connect.dns"

    run(main)


def test_every_call_that_waits_hears_of_the_refusal() -> None:
    async def main() -> None:
        rig = Rig(Knocks(_127_0_0_1=ConnectionRefusedError()))
        answers = [rig.start(instance(1, handshakes=3)) for _ in range(50)]
        for answer in answers:
            assert await answer.over() == "connect.refused"
        assert rig.counts[:4] == (0, 0, 0, 0)

    run(main)


@pytest.mark.parametrize("phase", ["resolve", "connect", "queue"])
def test_a_connect_that_takes_too_long_is_given_up(phase: str) -> None:
    never = asyncio.Event()
    names = Names(host=never if phase == "resolve" else ["10.0.0.1"])

    async def main() -> None:
        rig = Rig(Knocks(_10_0_0_1=never))
        here = instance(1, host="host", handshakes=1)
        ahead = rig.start(here, connect_s=100.0) if phase == "queue" else None
        answer = rig.start(here, connect_s=3.0)
        await spin()
        rig.pass_time(2.0)
        await spin()
        assert not answer.how and rig.counts.connecting == 1
        rig.pass_time(1.0)
        await spin()
        assert await answer.over() == "connect.timeout" and answer.sent == "nothing"
        assert rig.counts[:4] == ((0, 0, 1, 1) if ahead else (0, 0, 0, 0))
        assert len(rig.wheel) == (2 if ahead else 0)
        if ahead:
            ahead.cancel()
            assert len(rig.wheel) == 0

    run_with(names, main)


def test_a_hanging_connect_is_replaced_for_those_that_may_wait_longer() -> None:
    async def main() -> None:
        never = asyncio.Event()
        knocks = Knocks(_127_0_0_1=never)
        rig = Rig(knocks)
        here = instance(1, handshakes=1)
        short = rig.start(here, connect_s=3.0)
        long = rig.start(here, connect_s=9.0)
        await spin()
        knocks.doors.clear()
        rig.pass_time(3.0)
        await spin()
        assert await short.over() == "connect.timeout"
        await until(lambda: long.attempt.connection)
        knocks.wires[0].read(ok())
        assert await long.over() == "done"

    run(main)


def test_of_several_connects_the_one_that_hangs_is_given_up() -> None:
    async def main() -> None:
        knocks = Knocks(_127_0_0_1=asyncio.Event())
        rig = Rig(knocks)
        here = instance(1)
        short = rig.start(here, connect_s=3.0)
        await spin()
        knocks.doors["127.0.0.1"] = gate = asyncio.Event()
        long = rig.start(here, connect_s=9.0)
        await spin()
        rig.pass_time(3.0)
        assert await short.over() == "connect.timeout"
        gate.set()
        await until(lambda: long.attempt.connection)
        assert len(knocks.seen) == 2
        long.cancel()

    run(main)


def test_connects_in_progress_are_bounded_and_their_callers_served_in_order() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        knocks = Knocks(_127_0_0_1=gate)
        rig = Rig(knocks)
        here = instance(1, handshakes=2)
        order: list[int] = []
        answers = []
        for i in range(6):
            answer = Answer()
            answer.on_end = lambda i=i: order.append(i)  # type: ignore[misc]
            answers.append(rig.start(here, answer=answer))
        await spin()
        assert len(knocks.seen) == 2 and rig.counts.connecting == 2 and rig.counts.waiting == 6
        answers[1].cancel()
        gate.set()
        await until(lambda: len(knocks.wires) >= 2)
        await spin()
        for i in (0, 2, 3, 4, 5):
            wire = next(w for w in knocks.wires if answers[i].attempt.connection is w.protocol)
            wire.read(ok())
        assert order == [0, 2, 3, 4, 5]
        assert rig.counts[:4] == (5, 0, 0, 0)

    run(main)


def test_a_connection_that_is_freed_serves_who_waits_for_a_new_one() -> None:
    async def main() -> None:
        knocks = Knocks()
        rig = Rig(knocks)
        here = instance(1)
        first = rig.start(here)
        await until(lambda: first.attempt.connection)
        knocks.doors["127.0.0.1"] = gate = asyncio.Event()
        second = rig.start(here)
        await spin()
        knocks.wires[0].read(ok(b"first"))
        assert first.how == "done" and second.attempt.connection is knocks.wires[0].protocol
        knocks.wires[0].read(ok(b"second"))
        assert second.body == b"second"
        gate.set()
        await until(lambda: rig.counts.idle == 2)  # what was begun is of use to the next

    run(main)


def test_a_name_is_looked_up_once_for_all_and_again_in_its_time() -> None:
    names = Names(host=["10.0.0.1"])

    async def main() -> None:
        knocks = Knocks()
        rig = Rig(knocks)
        here = instance(1, host="host", dns_s=30.0)
        answers = [rig.start(here) for _ in range(5)]
        await until(lambda: rig.counts.busy == 5)
        assert names.asked == 1
        names.names["host"] = ["10.0.0.2"]
        rig.pass_time(20.0)
        answers.append(rig.start(here))
        await until(lambda: rig.counts.busy == 6)
        assert names.asked == 1 and knocks.seen[-1] == "10.0.0.1"
        rig.pass_time(10.0)
        answers.append(rig.start(here))
        await until(lambda: rig.counts.busy == 7)
        assert names.asked == 2 and knocks.seen[-1] == "10.0.0.2", "the endpoint moved"
        for answer in answers:
            answer.cancel()

    run_with(names, main)


def test_old_addresses_serve_while_the_name_server_does_not_but_not_for_ever() -> None:
    names = Names(host=["10.0.0.1"])

    async def main() -> None:
        rig = Rig(Knocks())
        here = instance(1, host="host", dns_s=30.0)
        first = rig.start(here)
        await until(lambda: first.attempt.connection)
        names.names["host"] = socket.gaierror(-3, "Temporary failure in name resolution")
        rig.pass_time(60.0)
        second = rig.start(here)
        await until(lambda: second.attempt.connection)
        rig.pass_time(600.0)
        third = rig.start(here)
        assert await third.over() == "connect.dns"
        first.cancel()
        second.cancel()

    run_with(names, main)


def test_addresses_are_tried_in_turn_and_the_one_that_failed_comes_last_next_time() -> None:
    names = Names(host=["10.0.0.1", "10.0.0.2", "10.0.0.3"])

    async def main() -> None:
        knocks = Knocks(_10_0_0_1=ConnectionRefusedError(), _10_0_0_2=OSError(113, "No route to host"))
        rig = Rig(knocks)
        here = instance(1, host="host")
        first = rig.start(here)
        await until(lambda: first.attempt.connection)
        assert knocks.seen == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        second = rig.start(here)
        await until(lambda: second.attempt.connection)
        assert knocks.seen[3:] == ["10.0.0.3"]
        knocks.doors = {"10.0.0.3": ConnectionRefusedError()}
        third = rig.start(here)
        await until(lambda: third.attempt.connection)
        assert knocks.seen[4:] == ["10.0.0.3", "10.0.0.1"]
        for answer in (first, second, third):
            answer.cancel()

    run_with(names, main)


def test_an_address_that_hangs_takes_its_share_of_the_time_only() -> None:
    names = Names(host=["10.0.0.1", "10.0.0.2"])

    async def main() -> None:
        knocks = Knocks(_10_0_0_1=asyncio.Event())
        rig = Rig(knocks)
        answer = rig.start(instance(1, host="host"), connect_s=6.0)
        await spin()
        assert knocks.seen == ["10.0.0.1"]
        rig.pass_time(3.0)
        await until(lambda: answer.attempt.connection)
        assert knocks.seen == ["10.0.0.1", "10.0.0.2"]
        answer.cancel()

    run_with(names, main)


LINK_LOCAL = ["169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1"]


@pytest.mark.parametrize("address", LINK_LOCAL)
@pytest.mark.parametrize("named", [True, False])
def test_metadata_services_are_never_connected_to(address: str, named: bool) -> None:
    names = Names(host=[address])

    async def main() -> None:
        knocks = Knocks()
        rig = Rig(knocks)
        answer = rig.start(instance(80, host="host" if named else address))
        assert await answer.over() == "connect.failed"
        assert not knocks.seen

    run_with(names, main)


def test_other_addresses_of_such_a_name_are_used() -> None:
    names = Names(host=["169.254.169.254", "10.0.0.1"])

    async def main() -> None:
        knocks = Knocks()
        rig = Rig(knocks)
        answer = rig.start(instance(80, host="host"))
        await until(lambda: answer.attempt.connection)
        assert knocks.seen == ["10.0.0.1"]
        answer.cancel()

    run_with(names, main)


def test_a_number_for_a_name_is_looked_at_as_the_address_it_is() -> None:
    async def main() -> None:
        answer = Rig(Knocks()).start(instance(80, host="2852039166"))  # 169.254.169.254
        assert await answer.over() in ("connect.failed", "connect.dns")

    run(main)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "2001:db8::1", "::ffff:10.0.0.1", "168.63.129.16"])
def test_other_addresses_are_not_forbidden(address: str) -> None:
    assert not forbidden(address)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_stand_in_brackets(host: str) -> None:
    async def main() -> None:
        knocks = Knocks()
        rig = Rig(knocks)
        answer = rig.start(instance(80, host=host))
        await until(lambda: answer.attempt.connection)
        assert knocks.seen == ["::1"]
        answer.cancel()

    run(main)


def test_a_connection_that_dies_while_it_is_handed_over_is_a_failed_connect() -> None:
    async def main() -> None:
        async def connect(factory: Callable[[], Any], host: str, port: int) -> None:
            wire = Wire()
            await wire.connect(factory, host, port)
            wire.protocol.eof_received()

        answer = Rig(connect).start(instance(1))
        assert await answer.over() == "connect.failed"

    run(main)


def test_a_connect_that_is_a_bug_fails_its_call_and_is_heard_of() -> None:
    async def main() -> None:
        heard: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["exception"]))

        async def connect(*args: object) -> None:
            raise ZeroDivisionError

        answer = Rig(connect).start(instance(1))
        assert await answer.over() == "connect.failed"
        await spin()
        assert [type(e) for e in heard] == [ZeroDivisionError]

    run(main)


def test_a_call_starts_and_fails_in_good_order_inside_the_failure_of_another() -> None:
    async def main() -> None:
        rig = Rig(Knocks(_127_0_0_1=ConnectionRefusedError()))
        here = instance(1)
        first, second = Answer(), Answer()
        first.on_end = lambda: rig.start(here, answer=second) and None
        rig.start(here, answer=first)
        assert await second.over() == "connect.refused"
        assert first.how == "connect.refused"

    run(main)


def test_a_server_by_name_on_real_sockets() -> None:
    async def main() -> None:
        rig = Rig()
        async with Server() as server:
            await exchange(rig, server, instance(server.port, host="localhost"))

    run(main)
