"""The admin port in the eyes of others: Prometheus' parsers, and a browser without a screen."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request

import prometheus_client.openmetrics.parser as openmetrics
import prometheus_client.parser as prometheus
import pytest
import redis

BINARY = os.environ["CORERING_ADMIN_SERVER"]
CHROMIUM = os.environ.get("CORERING_TEST_CHROMIUM", "chromium")
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# What the dashboard in redis_exporter's repository draws.
DASHBOARD = """redis_blocked_clients redis_connected_clients redis_commands_total redis_commands_duration_seconds_total
redis_db_keys redis_db_keys_expiring redis_evicted_keys_total redis_expired_keys_total redis_keyspace_hits_total
redis_keyspace_misses_total redis_memory_max_bytes redis_memory_used_bytes redis_net_input_bytes_total
redis_net_output_bytes_total redis_uptime_in_seconds""".split()

# What alarms ask for.
ALARMS = """redis_up redis_config_maxclients redis_connected_slaves redis_memory_used_rss_bytes redis_rejected_connections_total
redis_total_system_memory_bytes redis_rdb_last_bgsave_status redis_rdb_last_save_timestamp_seconds
redis_rdb_changes_since_last_save redis_aof_last_write_status redis_aof_last_bgrewrite_status redis_instance_info
redis_client_output_buffer_limit_disconnections_total redis_tracking_total_keys redis_number_of_cached_scripts
redis_evicted_scripts_total redis_slowlog_length redis_latency_percentiles_usec_count corering_core_stalls_total
corering_core_run_queue_seconds_total corering_core_longest_pass_seconds""".split()


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with something to tell, and clients at work: its admin port."""
    directory = tmp_path_factory.mktemp("server")
    port, admin_port = free_port(), free_port()
    command = [BINARY, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--shards", "2", "--admin-port"]
    command += [str(admin_port), "--slowlog-log-slower-than", "2000", "--enable-debug-command", "yes"]
    with open(directory / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)
    client = redis.Redis(port=port, socket_timeout=60)
    for _ in range(600):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert process.poll() is None, (directory / "log").read_text()
            time.sleep(0.05)
    client.set("with a deadline", "v", ex=1000)
    client.select(3)
    client.set('a "key" \\ of\nthree', "v")
    client.execute_command("DEBUG", "SLEEP", "0.01")
    with pytest.raises(redis.ResponseError):
        client.incr('a "key" \\ of\nthree')
    client.select(0)
    ends = threading.Event()

    def work():
        mine = redis.Redis(port=port, socket_timeout=60)
        while not ends.is_set():
            pipeline = mine.pipeline(transaction=False)
            for number in range(20):
                pipeline.set(f"key:{number}", "v" * 100)
                pipeline.get(f"key:{number * 2}")
                pipeline.lrange(f"list:{number}", 0, -1)
                pipeline.incr("the hot one")
            pipeline.execute()
            time.sleep(0.01)

    worker = threading.Thread(target=work)
    worker.start()
    yield admin_port
    ends.set()
    worker.join()
    process.terminate()
    process.wait(60)


def get(port, path, accept="*/*"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def scrape(port):
    content_type, text = get(port, "/metrics", OPENMETRICS)
    assert content_type == OPENMETRICS
    return {family.name: family for family in openmetrics.text_string_to_metric_families(text)}


def samples(families):
    return {sample.name for family in families.values() for sample in family.samples}


def test_openmetrics_is_what_its_parser_reads(server):
    deadline = time.monotonic() + 60
    families = scrape(server)
    while not families["corering_stage_seconds"].samples:
        assert time.monotonic() < deadline, "no second was ever over"
        time.sleep(0.2)
        families = scrape(server)
    assert set(DASHBOARD + ALARMS) <= samples(families)
    assert families["redis_keyspace_hits"].type == "counter"
    assert families["redis_connected_clients"].type == "gauge"
    stages = families["corering_stage_seconds"]
    assert stages.type == "histogram"
    told = {(sample.labels["way"], sample.labels["stage"]) for sample in stages.samples}
    assert {("local", "read"), ("local", "queue"), ("local", "execute")} <= told
    assert {("forwarded", "hop"), ("forwarded", "execute"), ("forwarded", "return")} <= told
    series = sum(len(family.samples) for family in families.values())
    assert series < 4000, "what a scrape brings is bounded"
    keys = {sample.labels["db"]: sample.value for sample in families["redis_db_keys"].samples}
    assert keys["db3"] == 1 and keys["db0"] > 1


def test_counters_only_rise(server):
    def counters():
        families = scrape(server)
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families.values()
            if family.type == "counter"
            for sample in family.samples
        }

    before = counters()
    time.sleep(1.5)
    after = counters()
    assert {name: value for name, value in before.items() if after[name] < value} == {}
    processed = ("redis_commands_processed_total", ())
    assert before[processed] < after[processed]


def test_the_older_text_is_read_too(server):
    content_type, text = get(server, "/metrics")
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in prometheus.text_string_to_metric_families(text)}
    assert set(DASHBOARD) <= samples(families)


def browse(port, *arguments):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command += ["--enable-logging=stderr", "--window-size=1280,1900", "--virtual-time-budget=8000", *arguments]
    command.append(f"http://127.0.0.1:{port}/")
    return subprocess.run(command, capture_output=True, text=True, timeout=150, check=True)


def test_the_page_shows_what_goes_on_in_a_browser(server, tmp_path):
    assert shutil.which(CHROMIUM), f"{CHROMIUM} is not installed"
    time.sleep(4)  # Some seconds to draw.
    told = browse(server, f"--user-data-dir={tmp_path}/a", "--dump-dom")
    page = told.stdout
    assert "Uncaught" not in told.stderr and "Refused to" not in told.stderr and "violates" not in told.stderr, told.stderr

    def text_of(name):
        return re.search(rf'id="{name}"[^>]*>([^<]*)<', page).group(1)

    assert text_of("state") == "", "nothing went wrong"
    assert int(re.sub(r"\D", "", text_of("ops"))) > 0
    assert text_of("hits").endswith(" %") and text_of("memory").endswith("iB")
    assert "core 1" in page and "forwarded hop" in page
    stages = re.search(r'<table id="stages">.*?</table>', page, re.S).group(0)
    for stage in ["local read", "local queue", "local execute", "forwarded hop", "forwarded return"]:
        assert f"<td>{stage}</td>" in stages, stages
    slow = re.search(r'<table id="slow">.*?</table>', page, re.S).group(0)
    assert "DEBUG SLEEP 0.01" in slow, slow
    keys = re.search(r'<table id="keys">.*?</table>', page, re.S).group(0)
    assert '"the hot one"' in keys.replace("&quot;", '"'), keys
    cores = re.search(r'<table id="cores">.*?</table>', page, re.S).group(0)
    assert cores.count("<tr>") == 3, cores
    picture = os.environ.get("CORERING_TEST_PAGE", str(tmp_path / "page.png"))
    browse(server, f"--user-data-dir={tmp_path}/b", f"--screenshot={picture}")
    # One colour all over would be a few kilobytes.
    assert os.path.getsize(picture) > 30_000
