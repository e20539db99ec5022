"""The configuration files of the documents, as they are written there, comments behind values included."""

import pytest
from conftest import IS_REDIS

EVICTION = """\
# redis.conf — eviction policy configuration
maxmemory 4gb               # hard memory cap — Redis will not allocate beyond this
maxmemory-policy allkeys-lru  # evict any key using LRU approximation when memory is full
# Policy options:
#   noeviction       — return errors on writes when memory is full (default — bad for caches)
"""


@pytest.mark.skipif(IS_REDIS, reason="Redis refuses comments behind values")
def test_the_eviction_file(start):
    r = start(EVICTION).client()
    assert r.config_get("maxmemory*")["maxmemory"] == str(4 << 30)
    assert r.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


def test_the_lru_cache_file(start):
    r = start("maxmemory 524288000\nmaxmemory-policy allkeys-lru\n").client()
    assert r.config_get("maxmemory") == {"maxmemory": "524288000"}


def test_slow_log_settings(start):
    server = start("slowlog-log-slower-than 0\nslowlog-max-len 3\n")
    r = server.client()
    for number in range(10):
        r.set("k", number)
    entries = r.slowlog_get(10)
    assert [entry["command"] for entry in entries] == [b"SET k 9", b"SET k 8", b"SET k 7"]
    assert r.slowlog_reset()
