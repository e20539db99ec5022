"""Servers for the tests: each in a directory of its own, on a free port of loopback, ended by its pid."""

import os
import socket
import subprocess
import time

import pytest
import redis

BINARY = os.environ["CORERING_DOCUMENTS_SERVER"]
IS_REDIS = os.path.basename(BINARY).startswith("redis")


def free_ports(*spans):
    """The first of so many free ports in a row, for each number; none twice."""
    while True:
        held, firsts = [], []
        try:
            for span in spans:
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", 0))
                firsts.append(held[-1].getsockname()[1])
                for port in range(firsts[-1] + 1, firsts[-1] + span):
                    held.append(socket.socket())
                    held[-1].bind(("127.0.0.1", port))
            return firsts
        except (OSError, OverflowError):
            continue
        finally:
            for one in held:
                one.close()


class Server:
    """A running server with a configuration file."""

    def __init__(self, directory, text="", port=None):
        self.port = port or free_ports(1)[0]
        self.directory = directory
        file = directory / "redis.conf"
        file.write_text(f"dir {directory}\nbind 127.0.0.1\nport {self.port}\nlogfile {directory}/log\n{text}")
        self.process = subprocess.Popen([BINARY, str(file)], stdin=subprocess.DEVNULL)
        for _ in range(400):
            try:
                if redis.Redis(port=self.port).ping():
                    return
            except redis.exceptions.ConnectionError:
                if self.process.poll() is not None:
                    break
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {(directory / 'log').read_text()}")

    def client(self, **options):
        return redis.Redis(port=self.port, decode_responses=True, **options)

    def cli(self, *words):
        """What redis-cli prints, as on a terminal."""
        command = ["redis-cli", "--no-raw", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0


@pytest.fixture
def start(tmp_path):
    """Starts servers with the text of a configuration file."""
    servers = []

    def start(text="", port=None):
        directory = tmp_path / str(len(servers))
        directory.mkdir()
        servers.append(Server(directory, text, port))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def r(start):
    return start().client()
