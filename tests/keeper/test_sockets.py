"""Listening sockets: one address for all, and every refusal says what to do."""

import errno
import os
import socket

import pytest

from sluicegate.core.settings import Listen
from sluicegate.keeper.sockets import CannotListen, anonymous, listen


def test_every_worker_has_a_socket_of_its_own_on_one_port():
    sockets = listen(Listen(port=0), 3)
    try:
        assert len({s.getsockname() for s in sockets}) == 1
        assert len({s.fileno() for s in sockets}) == 3
        for s in sockets:
            assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            assert not s.get_inheritable()
    finally:
        for s in sockets:
            s.close()


def test_a_taken_port_is_said_with_what_to_do():
    (first,) = listen(Listen(port=0))
    with first:
        port = first.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            listen(Listen(port=port), 2)
        assert str(caught.value).startswith(
            f"cannot listen on 127.0.0.1:{port}: address already in use. Stop what listens"
        )
        (second,) = listen(Listen(port=port), shared=True)
        second.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.EADDRNOTAVAIL, "Cannot assign"),
            "cannot assign. This machine has no such address: 0.0.0.0 means",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied. Ports below 1024 need a privilege"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known. Write another"),
    ],
)
def test_what_cannot_be_bound_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, error: OSError, said: str):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CannotListen) as caught:
        listen(Listen(host="2001:db8::1", port=9))
    assert str(caught.value).startswith(f"cannot listen on [2001:db8::1]:9: {said}")


def test_the_parcel_has_no_name_in_the_file_system():
    with anonymous() as f:
        assert not os.path.exists(os.readlink(f"/proc/self/fd/{f.fileno()}"))
