"""What the scripts of this folder share: servers on a CPU of their own, what they and the machine spent, and the files
in which a run is kept. Python's standard library alone, so that a script and this file are enough on another machine.
"""
import contextlib
import csv
import datetime
import os
import pathlib
import platform
import re
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
# Requests sent before their replies are read.
FILL_WINDOW = 64
# Shares of one run's wall time above which it is noisy.
STEAL_MAX = 0.01
FOREIGN_MAX = 0.05


def free_port(span):
    """A port that is free together with the `span` ports after it."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        try:
            for other in range(port + 1, port + 1 + span):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", other))
            return port
        except (OSError, OverflowError):
            continue
    sys.exit("no free ports")


def machine_ticks():
    """Busy, steal and all ticks of all CPUs since boot. Interrupts are not what others do: where the kernel counts their
    time apart, what loopback does for client and server stands there."""
    fields = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, _, _, steal = fields[:8]
    return user + nice + system, steal, sum(fields[:8])


def process_ticks(pid):
    """User and system ticks of a process with all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def process_runtime_ns(pid):
    """Nanoseconds that the threads now alive have run; finer than ticks."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return total


def request(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Client:
    """A connection of a script's own: fills, asks, compares."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 18)

    def call(self, *words):
        self.socket.sendall(request(*words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line:
            sys.exit("a server closed its connection")
        if line[:1] == b"$" and line[1:2] != b"-":
            return self.file.read(int(line[1:]) + 2)[:-2]
        if line[:1] in b"*%~>" and line[1:2] != b"-":
            return [self.reply() for _ in range(int(line[1:]) * (2 if line[:1] == b"%" else 1))]
        return line[:-2]

    def fill(self, requests):
        """Sends requests, some at a time, and reads their replies, none of which may be an error."""
        window = []
        for words in requests:
            window.append(words)
            if len(window) == FILL_WINDOW:
                self.flush(window)
        self.flush(window)

    def flush(self, window):
        self.socket.sendall(b"".join(window))
        for _ in window:
            reply = self.reply()
            if isinstance(reply, bytes) and reply[:1] == b"-":
                sys.exit(f"a fill was refused: {reply.decode(errors='replace')}")
        window.clear()

    def info(self, field):
        """A number in INFO."""
        return float(re.search(rb"\r\n%s:([0-9.]+)" % field.encode(), self.call("INFO")).group(1))


class Server:
    """A server with its keys loaded, killed at the end of the block."""

    def __init__(self, command, cpus, span=0, more=()):
        self.port = free_port(span)
        self.folder = tempfile.mkdtemp(prefix="compare-")
        words = shlex.split(command) + ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        words += ["--dir", self.folder, *more]
        self.words = words
        self.log = open(os.path.join(self.folder, "log"), "w+b")
        self.process = subprocess.Popen(["taskset", "-c", cpus, *words], stdout=self.log, stderr=self.log, cwd=ROOT)
        self.pid = self.process.pid  # taskset replaces itself with the server

    def __enter__(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(64).startswith(b"+PONG"):
                        return self
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        self.log.seek(0)
        said = self.log.read().decode(errors="replace")
        self.__exit__()
        sys.exit(f"{shlex.join(self.words)} did not start; it said:\n{said}")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def resident_bytes(self):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def load(self, payload):
        """Pipes commands in and waits for their replies."""
        with open(payload, "rb") as source:
            subprocess.run(["redis-cli", "-p", str(self.port), "--pipe"], stdin=source, check=True,
                           stdout=subprocess.DEVNULL)


class Probe(threading.Thread):
    """One command after the other on a connection of its own until it is told to stop: when each was sent, in seconds of
    the performance counter, and how many milliseconds its reply took."""

    def __init__(self, port, *words):
        super().__init__()
        self.client, self.words, self.times, self.stopping = Client(port), words, [], False
        self.start()

    def run(self):
        while not self.stopping:
            begun = time.perf_counter()
            self.client.call(*self.words)
            self.times.append((begun, (time.perf_counter() - begun) * 1000))

    def stop(self):
        self.stopping = True
        self.join()
        return self.times


def shares(times):
    """p50, p99, p99.9 and the largest of some."""
    times = sorted(times)
    return [times[min(len(times) - 1, int(len(times) * share))] for share in (.5, .99, .999)] + [times[-1]]


@contextlib.contextmanager
def writers(server, cpus, count, keys, bytes_each, pipeline=1):
    """SETs of redis-benchmark from so many connections, for as long as the block lasts."""
    words = ["taskset", "-c", cpus, "redis-benchmark", "-p", str(server.port), "-c", str(count), "-P", str(pipeline)]
    words += ["-n", "1000000000", "-d", str(bytes_each), "-r", str(keys), "-t", "set"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


class Spent:
    """What a server, the children of this process and the rest of the machine spent within the block, as `row`."""

    def __init__(self, server):
        self.server, self.row = server, {}

    def __enter__(self):
        self.before = self.look()
        return self

    def look(self):
        pid = self.server.pid
        return machine_ticks(), process_ticks(pid), process_runtime_ns(pid), sum(os.times()[2:4]), time.monotonic()

    def __exit__(self, kind, *_):
        if kind:
            return
        (busy, steal, ticks), (user, system), runtime, client, started = self.before
        (busy_after, steal_after, ticks_after), (user_after, system_after), runtime_after, client_after, ended = self.look()
        client = client_after - client
        server_seconds = (user_after - user + system_after - system) / TICK
        wall_ticks = max(1, ticks_after - ticks)
        foreign = (busy_after - busy) / TICK - server_seconds - client
        self.row = {
            "wall_s": round(ended - started, 3),
            "user_s": (user_after - user) / TICK,
            "system_s": (system_after - system) / TICK,
            "runtime_s": round((runtime_after - runtime) / 1e9, 6),
            "client_s": round(client, 2),
            "steal_share": round((steal_after - steal) / wall_ticks, 4),
            "foreign_share": round(max(0.0, foreign) / (wall_ticks / TICK), 4),
        }


def benchmark(server, cpus, arguments, port=None, generator="redis-benchmark"):
    """One run of redis-benchmark: what it printed and what it cost the server."""
    words = ["taskset", "-c", cpus, generator, "-p", str(port or server.port), "--csv", *arguments]
    with Spent(server) as spent:
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rows = list(csv.reader(line for line in output.splitlines() if line.startswith('"')))
    if len(rows) < 2 or server.process.poll() is not None:
        sys.exit(f"{shlex.join(words)} gave no result:\n{output}")
    fields = dict(zip(rows[0], rows[-1]))
    return {
        "requests_per_s": float(fields["rps"]),
        "p50_ms": float(fields["p50_latency_ms"]),
        "p99_ms": float(fields["p99_latency_ms"]),
        "max_ms": float(fields["max_latency_ms"]),
        **spent.row,
    }


def cost_us(row):
    """CPU microseconds per operation. Ticks are the measure; below two seconds of them the run time is finer, where the
    kernel tells it."""
    seconds = row["user_s"] + row["system_s"]
    return (seconds if seconds >= 2 or not row["runtime_s"] else row["runtime_s"]) * 1e6 / row["operations"]


def is_quiet(row):
    return row["steal_share"] <= STEAL_MAX and row["foreign_share"] <= FOREIGN_MAX


def interval(ratios, randomness):
    """Bootstrap 95 % interval of the median."""
    medians = sorted(statistics.median(randomness.choices(ratios, k=len(ratios))) for _ in range(5_000))
    return medians[125], medians[4_874]


def shuffled(count):
    """All numbers below count, each once, in no order."""
    step = 7_368_787  # Prime, and no divisor of the counts in use.
    assert count % step
    return (index * step % count for index in range(count))


class Report:
    """Rows as they come, in a file that survives an interrupt; in a folder that is new."""

    FIELDS = ["scenario", "pair", "order", "server", "control", "operation", "operations", "cost_us", "requests_per_s",
              "p50_ms", "p99_ms", "max_ms", "wall_s", "user_s", "system_s", "runtime_s", "client_s", "steal_share",
              "foreign_share"]

    def __init__(self, folder, width=6):
        folder.mkdir(parents=True)
        self.width = width
        self.rows = []
        self.file = open(folder / "raw.csv", "w", newline="")
        self.writer = csv.DictWriter(self.file, self.FIELDS)
        self.writer.writeheader()

    def add(self, **row):
        row["cost_us"] = round(cost_us(row), 4)
        self.rows.append(row)
        self.writer.writerow(row)
        self.file.flush()
        noise = "" if is_quiet(row) else f"  NOISY steal {row['steal_share']:.1%} foreign {row['foreign_share']:.1%}"
        print(f"{row['scenario']:>16} {row['pair']:>3} {row['server']:>12} {row['operation']:>{self.width}} "
              f"{row['cost_us']:8.3f} us/op {row['requests_per_s']:>10.0f}/s{noise}", flush=True)


def environment(servers, generator="redis-benchmark"):
    """What a reader needs to judge the numbers."""
    def run(*words):
        try:
            return subprocess.run(words, capture_output=True, text=True, timeout=10).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    hypervisor = " hypervisor " in cpuinfo
    governor = pathlib.Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    lines = [
        f"date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
        f"kernel: {platform.release()}",
        f"cpu: {model.group(1) if model else platform.machine()}, {os.cpu_count()} CPUs"
        f"{', virtual machine' if hypervisor else ''}",
        f"memory: {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MiB",
        f"governor: {governor.read_text().strip() if governor.exists() else 'not shown'}",
        f"mitigations: {run('sh', '-c', 'grep -hv ^Not /sys/devices/system/cpu/vulnerabilities/* | sort -u | head -8')!r}",
        f"load before: {os.getloadavg()[0]:.2f}",
        f"client: {run(generator, '--version')}",
        f"commit: {run('git', '-C', str(ROOT), 'rev-parse', 'HEAD')}"
        f"{' (changed)' if run('git', '-C', str(ROOT), 'status', '--porcelain', '-uno') else ''}",
    ]
    for label, command in servers:
        lines.append(f"{label}: {run(shlex.split(command)[0], '--version')} ({plain(command)})")
    return "\n".join(lines) + "\n", f"{os.cpu_count()}-core-{'vm' if hypervisor else 'host'}"


def plain(command):
    """A command without the folders of this machine: what lies outside the tree is taken from PATH."""
    words = shlex.split(command)
    path = pathlib.Path(words[0])
    words[0] = str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) else words[0]
    if os.path.isabs(words[0]):
        words[0] = path.name
    return shlex.join(words)


def write_command(folder, script, servers, generator=None):
    """Writes how a run is made again into cmd.sh, without the folders of this machine. `servers` as they were given:
    LABEL=COMMAND."""
    words = []
    for word in sys.argv[1:]:
        label, equals, command = word.partition("=")
        if equals and word in servers:
            word = f"{label}={plain(command)}"
        words.append(os.path.basename(word) if word == generator else word)
    file = folder / "cmd.sh"
    file.write_text("#!/bin/sh\n# In the root of the tree, the peers' binaries on PATH.\n"
                    f"benches/{script} {shlex.join(words)}\n")
    file.chmod(0o755)
