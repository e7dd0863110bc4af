"""Ranks learn of each other's errors, of a store that is gone, and of an environment that is none of a rank's."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from torch import distributed

from rbt.errors import ConfigError, RbtError
from rbt.trainer.distributed import StopRequest, join
from rbt.trainer.heartbeat import SILENT_BEATS, Heartbeat
from rbt.trainer.speaking import FAILED, connect, connect_if_there, is_rank, local_rank, saying_once


class Proxy:
    """Stands between a rank and the store, and can cut its connections."""

    def __init__(self, port: int) -> None:
        self._target, self._ends = port, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError), source:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections; new ones are taken."""
        while self._ends:
            with suppress(OSError):
                self._ends.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more of them."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll for something that must come."""
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError


def test_a_lost_connection_is_made_anew_and_a_lost_store_asks_to_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    proxy = Proxy(server.port)
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", proxy.port), ("RANK", 0), ("WORLD_SIZE", 1)):
        monkeypatch.setenv(name, str(value))
    signs = distributed.PrefixStore("rbt/0/1", server)
    heartbeat = Heartbeat(connect(), 0, 1, 1.6)
    heartbeat._patience = 900.0  # until it would end the process
    request = StopRequest(heartbeat)
    heartbeat.start()
    wait_until(lambda: len(proxy._ends) == 2)
    proxy.cut()
    wait_until(lambda: "rank 0: the connection to the store was lost, and made anew" in caplog.text)
    beats = heartbeat._sign.beats
    wait_until(lambda: bool(json.loads(signs.get("0"))["beats"] > beats + SILENT_BEATS))
    assert not heartbeat.is_alone and not request.is_asked
    proxy.close()
    wait_until(lambda: heartbeat.is_alone)
    assert request.is_asked and not heartbeat.is_stop_asked
    assert "rank 0: what started the ranks is gone; stopping after step 0" in caplog.text
    heartbeat.stop(failed=False)


def test_who_asked_for_the_stop_is_known() -> None:
    """So that a rank that was asked to ends with code 0, and one that lost what started it does not."""
    heartbeat = Heartbeat(distributed.HashStore(), 0, 2, 0.4)
    request = StopRequest(heartbeat)
    assert not request.is_asked
    heartbeat.is_alone = True
    assert request.is_asked and not heartbeat.is_stop_asked
    request._ask()
    assert request.is_asked and heartbeat.is_stop_asked


RANK = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "LOCAL_RANK": "0"}


@pytest.mark.parametrize(("variable", "value", "expected"), [
    ("MASTER_ADDR", None, "the host of the first rank"), ("MASTER_ADDR", "", "the host of the first rank"),
    ("MASTER_PORT", None, "a number from 1 to 65535"), ("MASTER_PORT", "70000", "a number from 1 to 65535"),
    ("MASTER_PORT", "http", "a number from 1 to 65535"), ("RANK", "a", "a number from 0 to 0"),
    ("RANK", "1", "a number from 0 to 0"), ("WORLD_SIZE", "0", "a number from 1 on"),
    ("LOCAL_RANK", "-1", "a number from 0 on"),
])  # fmt: skip
def test_a_broken_environment_of_a_rank_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, expected: str
) -> None:
    for name, right in RANK.items():
        monkeypatch.setenv(name, right)
    assert is_rank() and local_rank() == 0
    monkeypatch.delenv(variable) if value is None else monkeypatch.setenv(variable, value)
    match = f"expected {expected} in the environment's {variable}; found "
    with pytest.raises(ConfigError, match=match):
        local_rank()
    if variable != "LOCAL_RANK":
        with pytest.raises(ConfigError, match=match), saying_once():
            raise AssertionError
        with pytest.raises(ConfigError, match=match), join("cpu", 1.0):
            raise AssertionError


def test_a_port_that_is_taken_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for name, value in (RANK | {"MASTER_PORT": str(port)}).items():
            monkeypatch.setenv(name, value)
        expected = rf"expected the store of the ranks at 127\.0\.0\.1:{port}; found .*EADDRINUSE.*MASTER_PORT"
        with pytest.raises(RbtError, match=expected), join("cpu", 1.0):
            raise AssertionError


def test_errors_of_a_rank_reach_the_others_bugs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has joined; the second mistake ends without a word, a bug shows its traceback."""
    server = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=5))
    monkeypatch.setattr("rbt.trainer.speaking.TURN_SECONDS", 0.0)
    for name, value in (RANK | {"MASTER_PORT": str(server.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    shared = distributed.PrefixStore("rbt/0/1", server)
    for error, raised in ((ValueError, ValueError), (RbtError, RbtError), (OSError, SystemExit)):
        with pytest.raises(raised), saying_once():
            assert not shared.check([FAILED])
            raise error("x")
        assert json.loads(shared.get(FAILED))["rank"] == 0
        shared.delete_key(FAILED)
    assert connect_if_there() is not None
    monkeypatch.setenv("MASTER_PORT", "1")
    assert connect_if_there() is None
