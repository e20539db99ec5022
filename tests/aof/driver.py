"""What the proofs of the append-only file share: a client, a server on a directory of its own, and a load of which it is
known what was acknowledged and what must be whole. Imported by `run` and `power`; runs nothing by itself.
"""
import math, os, random, signal, socket, subprocess, tempfile, threading, time

# How long anything is waited for: machines that test are shared, and what comes true sooner costs nothing.
PATIENCE_S = 180


def two_free_ports():
    """The first of two that nobody listens on, below those that the kernel gives to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(10_000, 31_998)
        try:
            for each in (port, port + 1):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", each))
            return port
        except OSError:
            continue


class Client:
    def __init__(self, port, timeout=PATIENCE_S):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, *args):
        words = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind in b"+":
            return rest
        if kind == b"-":
            return Exception(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            if length < 0:
                return None
            data = self.file.read(length + 2)
            if len(data) < length + 2:
                raise ConnectionError("closed")
            return data[:-2]
        if kind == b"*":
            return None if int(rest) < 0 else [self.read() for _ in range(int(rest))]
        raise ValueError(line)

    def call(self, *args):
        self.send(*args)
        return self.read()


class Server:
    """A server on its own directory. `Server.binary` and `Server.port` are to be said before the first."""

    all = []
    binary, port = None, None

    def __init__(self, directory, *arguments, binary=None, expect_failure=False, log=None):
        self.directory, self.port = directory, Server.port
        command = [binary or Server.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", directory,
                   "--save", "", "--appendonly", "yes", "--enable-debug-command", "yes", *arguments]
        self.log_path = log or os.path.join(directory, "log")
        with open(self.log_path, "ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        Server.all.append(self)
        deadline = time.time() + PATIENCE_S
        while True:
            if self.process.poll() is not None:
                if expect_failure:
                    return
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.tail()}")
            try:
                if Client(self.port).call("PING") == b"PONG":
                    break
            except (OSError, ConnectionError):
                pass
            if time.time() > deadline:
                raise AssertionError("no answer\n" + self.tail())
            time.sleep(0.02)
        if expect_failure:
            self.kill()
            raise AssertionError("the server serves although it must not")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=PATIENCE_S)
        if code != 0:
            raise AssertionError(f"exit code {code}\n{self.tail()}")

    def tail(self):
        return tail(self.log_path)

    @staticmethod
    def end_all():
        """Ends those that are left, whatever happened."""
        for server in Server.all:
            if server.process.poll() is None:
                server.kill()
        Server.all.clear()


def tail(log_path):
    with open(log_path, "rb") as log:
        return log.read()[-3000:].decode(errors="replace")


def fresh():
    return tempfile.mkdtemp(prefix="corering-aof-")


class Bank:
    """Clients who move money between accounts on any shards, and count. The sum of the accounts is that of the beginning
    if every transaction is whole or absent; the counters say what of that which was acknowledged is there.
    """

    ACCOUNTS = [f"account{index}" for index in range(16)]
    BALANCE = 1000
    # So many keys that nobody changes: a rewrite and a snapshot take a while.
    BULK, BULK_BYTES = 6000, 300
    # What is under way when the server is to end.
    MOMENTS = {"nothing": (), "rewrite": ("BGREWRITEAOF",), "snapshot": ("BGSAVE",), "generation": ("SWAPDB", 5, 6)}

    def __init__(self, seed, clients=4):
        self.seed, self.clients, self.rounds = seed, clients, 0
        # Clients that ask for CLIENT DURABILITY always in the next round, whatever the policy is.
        self.durable = set()
        # Of each client: the last number sent, and those that were there when the round began, as counter and as pair.
        self.sent, self.counters, self.pairs = {}, {}, {}
        # What each was acknowledged in this round: (when it was asked for, when that was answered, the number).
        self.told_counters, self.told_pairs = {}, {}
        # When the disk began to be cut off, and when it was: see `counts`.
        self.cut = (math.inf, math.inf)
        self.lost_max, self.lost_s_max = 0, 0.0

    def open(self, client):
        """Sets the accounts up; that is safe before this returns."""
        for account in self.ACCOUNTS:
            client.call("SET", account, self.BALANCE)
        for first in range(0, self.BULK, 500):
            words = [word for number in range(first, first + 500) for word in (f"bulk{number}", self._bulk(number))]
            assert client.call("MSET", *words) == b"OK"
        assert client.call("WAITAOF", 1, 0, 0) == [1, 0]

    def _bulk(self, number):
        return (b"%d " % number).ljust(self.BULK_BYTES, b".")

    def run_up_to(self, moment, port, rng):
        """Begins a round, and returns at some time of it. Whether what the moment says was under way just then."""
        self.start(port)
        time.sleep(rng.uniform(0.1, 0.6))
        self.wait_for_answers()
        client = Client(port)
        if self.MOMENTS[moment]:
            client.call(*self.MOMENTS[moment])
            time.sleep(rng.uniform(0, rng.choice([0.02, 0.4])))
        info = client.call("INFO", "persistence")
        return b"aof_rewrite_in_progress:1" in info or b"rdb_bgsave_in_progress:1" in info

    def start(self, port):
        """A round begins."""
        self.rounds += 1
        self.told_counters, self.told_pairs = ({index: [] for index in range(self.clients)} for _ in range(2))
        self.cut = (math.inf, math.inf)
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._serve, args=(port, index)) for index in range(self.clients)]
        [thread.start() for thread in self.threads]

    def wait_for_answers(self):
        """On a busy machine nobody may have had his turn yet."""
        deadline = time.time() + PATIENCE_S
        while not any(self.told_counters.values()) and time.time() < deadline:
            time.sleep(0.05)
        assert any(self.told_counters.values()), "nobody was answered"

    def end(self):
        """The round has ended: the server does not answer any more."""
        self.is_over.set()
        [thread.join() for thread in self.threads]

    def _serve(self, port, index):
        choose = random.Random(f"{self.seed} {self.rounds} {index}")
        try:
            client = Client(port)
            if index in self.durable and client.call("CLIENT", "DURABILITY", "always") != b"OK":
                return
            while not self.is_over.is_set():
                a, b = choose.sample(self.ACCOUNTS, 2)
                amount = choose.randrange(1, 100)
                client.send("MULTI"), client.send("DECRBY", a, amount), client.send("INCRBY", b, amount), client.send("EXEC")
                for _ in range(3):
                    client.read()
                if isinstance(client.read(), Exception):
                    return
                # A number is never sent twice: what is found of an earlier round is not taken for this one's.
                number = self.sent[index] = self.sent.get(index, 0) + 1
                if choose.random() < 0.1:
                    asked = time.monotonic()
                    if client.call("MSET", f"left{index}", number, f"right{index}", number) != b"OK":
                        return
                    self.told_pairs[index].append((asked, time.monotonic(), number))
                asked = time.monotonic()
                if client.call("SET", f"counter{index}", number) != b"OK":
                    return
                self.told_counters[index].append((asked, time.monotonic(), number))
        except (OSError, ConnectionError, ValueError):
            pass

    def known(self, before, told):
        """The highest number that must be there, of what was there before and what was acknowledged since. What was asked
        while the disk was being cut off does not count: a machine without power answers nobody, but XFS, when it is shut
        down, calls some synced write done that was in its log just then (24 of 600 times, by a loop of pwritev2 with
        RWF_DSYNC alone on Linux 6.18; ext4 0 of 300).
        """
        began, ended = self.cut
        return max([before, *(number for asked, answered, number in told if answered < began or ended < asked)])

    def check(self, client, is_safe, where):
        """After a crash. `is_safe`: nothing that was acknowledged may be missing."""
        values = [int(client.call("GET", account) or 0) for account in self.ACCOUNTS]
        assert sum(values) == self.BALANCE * len(values), f"{where}: half a transaction: {values}"
        for first in range(0, self.BULK, 500):
            numbers = range(first, first + 500)
            there = client.call("MGET", *(f"bulk{number}" for number in numbers))
            wrong = [number for number, value in zip(numbers, there) if value != self._bulk(number)]
            assert not wrong, f"{where}: keys that nobody changed are gone: {wrong[:5]}"
        for index in range(self.clients):
            known = self.known(self.counters.get(index, 0), self.told_counters[index])
            pair = self.known(self.pairs.get(index, 0), self.told_pairs[index])
            sent = self.sent.get(index, 0)
            found, left, right = (int(client.call("GET", f"{name}{index}") or 0) for name in ("counter", "left", "right"))
            assert left == right, f"{where}: half an MSET: {left} and {right}"
            assert max(found, left) <= sent, f"{where}: {found} and {left} are there, but {sent} was the last to be sent"
            if is_safe or index in self.durable:
                assert known <= found, f"{where}: client {index}: {known} was acknowledged, {found} is there"
                assert pair <= left, f"{where}: client {index}: the pair {pair} was acknowledged, {left} is there"
            told = self.told_counters[index]
            lost = [answered for _, answered, number in told if found < number]
            self.lost_max = max(self.lost_max, len(lost))
            if lost:
                self.lost_s_max = max(self.lost_s_max, told[-1][1] - lost[0])
            # What is lost is not missed a second time.
            self.counters[index], self.pairs[index] = found, left
