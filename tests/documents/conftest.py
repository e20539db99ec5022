"""Servers for the tests, and the worker processes of queues: each in a directory of its own, servers on a free port of
loopback, all ended by their pid."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest
import redis

BINARY = os.environ["CORERING_DOCUMENTS_SERVER"]
IS_REDIS = os.path.basename(BINARY).startswith("redis")
# For what uses several keys at once. Redis has one keyspace, and has to pass but once.
SHARDS = [1] if IS_REDIS else [1, 2, 4]
# How long anything is waited for: machines that test are shared, and what comes true sooner costs nothing.
PATIENCE_S = 120


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


def together(count, run):
    """Calls `run(0)` to `run(count - 1)` in threads that begin at once; their results in order, or the first's error."""
    barrier, results, errors = threading.Barrier(count), [None] * count, []

    def thread(number):
        try:
            barrier.wait(PATIENCE_S)
            results[number] = run(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=thread, args=(number,), daemon=True) for number in range(count)]
    [one.start() for one in threads]
    [one.join(2 * PATIENCE_S) for one in threads]
    if errors:
        raise errors[0]
    assert not any(one.is_alive() for one in threads), "a thread hangs"
    return results


def eventually(check, seconds=PATIENCE_S):
    """Waits until `check()` is true; what it returned."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
    return value


class Server:
    """A running server with a configuration file."""

    def __init__(self, directory, text="", port=None):
        self.directory = directory
        # Somebody else may take a free port between our looking and the server's binding.
        for _ in range(5):
            self.port = port or free_ports(1)[0]
            file, log = directory / "redis.conf", directory / "log"
            file.write_text(f"dir {directory}\nbind 127.0.0.1\nport {self.port}\nlogfile {log}\n{text}")
            try:
                return self.launch()
            except AssertionError:
                if port or "Address already in use" not in log.read_text():
                    raise
                log.unlink()
        raise AssertionError("no port is free for long")

    def launch(self):
        """Starts it, again if it was killed."""
        command = [BINARY, str(self.directory / "redis.conf")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if redis.Redis(port=self.port).ping():
                    return
            except redis.exceptions.ConnectionError:
                if self.process.poll() is not None:
                    break
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {(self.directory / 'log').read_text()}")

    def client(self, **options):
        return redis.Redis(**{"port": self.port, "decode_responses": True, **options})

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def cli(self, *words):
        """What redis-cli prints, as on a terminal."""
        command = ["redis-cli", "--no-raw", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout

    def stop(self):
        self.process.terminate()
        try:
            assert self.process.wait(PATIENCE_S) == 0
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it does not end: {(self.directory / 'log').read_text()}") from None

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)


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


@pytest.fixture(params=SHARDS, ids=lambda shards: f"shards{shards}")
def sharded(request, start):
    """A server with 1, 2 and 4 shards."""
    return start("" if IS_REDIS else f"shards {request.param}\n")


@pytest.fixture
def work(tmp_path):
    """Starts programs beside the test, as `python WORDS…` with the test's directory to import from, or by another
    interpreter. They are ended as an operator would, and shown when the test fails."""
    processes = []

    def work(*words, by=sys.executable, **environment):
        log = tmp_path / f"worker{len(processes)}.log"
        path = os.pathsep.join([str(tmp_path), os.path.dirname(__file__)])
        with log.open("wb") as output:
            processes.append((subprocess.Popen(
                [by, *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path, **environment},
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT), log))
        return processes[-1][0]

    yield work
    for process, log in processes:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"{log.name} did not end")
        print(f"{log.name}: {log.read_text(errors='replace')}")
