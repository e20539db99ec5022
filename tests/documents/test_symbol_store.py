"""A web application with two servers: an LRU cache of symbols, and a cache for all the rest, both through Django's cache
interface."""

import pytest
from conftest import IS_REDIS

STORE = "maxmemory 524288000\nmaxmemory-policy allkeys-lru\nsave \"\"\n"


@pytest.fixture(scope="session")
def django():
    import django
    from django.conf import settings

    backend = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.configure(CACHES={"default": backend, "store": dict(backend)})
    django.setup()
    return django


@pytest.fixture
def site(django, start):
    """The two caches of the site, and their servers."""
    from django.core.cache import caches

    servers = {"store": start(STORE), "default": start()}
    for name, server in servers.items():
        options = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"} if name == "default" else {}
        caches.settings[name].update(LOCATION=f"redis://127.0.0.1:{server.port}/0", OPTIONS=options)
        if hasattr(caches._connections, name):
            delattr(caches._connections, name)
    yield caches, servers
    for name in servers:
        caches[name].close()


@pytest.fixture
def clear_redis_store(site):
    """As in the site's own tests."""
    caches, _ = site
    caches["store"].clear()
    return caches["store"]


def test_the_limit_and_the_policy_as_they_are_shown(start):
    store = start(STORE)
    assert store.cli("config", "get", "maxmemory") == '1) "maxmemory"\n2) "524288000"\n'
    assert store.cli("config", "get", "maxmemory-policy") == '1) "maxmemory-policy"\n2) "allkeys-lru"\n'
    assert store.cli("config", "set", "maxmemory", "100mb") == "OK\n"
    assert store.cli("config", "get", "maxmemory") == '1) "maxmemory"\n2) "104857600"\n'
    lines = store.cli("info").splitlines()
    assert lines[0] == "# Server" and any(line.startswith("os:Linux ") for line in lines)
    store.stop()
    # What was set while it ran is gone.
    again = start(STORE)
    assert again.client().config_get("maxmemory") == {"maxmemory": "524288000"}


def test_symbols_are_kept_under_djangos_names(site):
    caches, servers = site
    names = ["symbol:xul.pdb/44E4EC8C2F41492B9369D6B9A059577C2", "symbol:wntdll.pdb/D74F79EB1F8D4A45ABCD2F476CCABACC2"]
    for name in names:
        caches["store"].set(name, {"0x1000": "main"}, timeout=None)
    assert sorted(servers["store"].client().keys("*")) == sorted(f":1:{name}" for name in names)
    assert caches["store"].get(names[0]) == {"0x1000": "main"}
    assert servers["store"].client().ttl(f":1:{names[0]}") == -1
    shown = servers["store"].cli("keys", "*")
    assert shown.startswith('1) ":1:symbol:') and shown.count("\n") == 2


def test_the_default_cache_does_what_djangos_interface_says(site):
    caches, servers = site
    cache = caches["default"]
    cache.set("key", "value", timeout=None)
    assert cache.get("key") == "value" and cache.ttl("key") is None
    cache.set("brief", 1)
    assert 0 < cache.ttl("brief") <= 300
    assert cache.add("brief", 2) is False and cache.add("new", 2) is True
    cache.set_many({"a": 1, "b": [1, 2], "c": None})
    assert cache.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": [1, 2], "c": None}
    assert cache.touch("a", 60) and 0 < cache.ttl("a") <= 60
    assert cache.persist("a") and cache.ttl("a") is None
    assert cache.get_or_set("made", lambda: "once") == "once"
    assert cache.delete("made") and not cache.delete("made")
    assert cache.has_key("b") and "b" in cache
    assert sorted(cache.iter_keys("*")) == ["a", "b", "brief", "c", "key", "new"]
    assert cache.delete_pattern("b*") == 2
    cache.set("versioned", 1, version=1)
    assert cache.incr_version("versioned") == 2 and cache.get("versioned", version=2) == 1
    assert cache.set("only", 1, nx=True) and not cache.set("only", 2, nx=True)
    cache.set("gone", 1, timeout=0)
    assert cache.get("gone") is None
    cache.clear()
    assert servers["default"].client().dbsize() == 0


def test_djangos_counters_count_by_scripts(site):
    caches, _ = site
    cache = caches["default"]
    cache.set("a", 1)
    assert cache.incr("a", 5) == 6 and cache.decr("a") == 5
    with pytest.raises(ValueError):
        cache.incr("nothing")


def test_storage1(clear_redis_store):
    assert not clear_redis_store.get("foo")
    clear_redis_store.set("foo", "bar")
    assert clear_redis_store.get("foo") == "bar"


def test_storage2(clear_redis_store):
    assert not clear_redis_store.get("foo")
    clear_redis_store.set("foo", "different")
    assert clear_redis_store.get("foo") == "different"


def test_symbols_beyond_the_limit_push_out_those_unused_for_longest(site):
    caches, servers = site
    store, server = caches["store"], servers["store"].client()
    server.config_set("maxmemory", "100mb")
    used = [f"symbol:used{number}.pdb" for number in range(20)]
    for name in used:
        store.set(name, b"s" * 10_000, timeout=None)
    sizes = [10_000, 100_000, 1_000_000]
    for number in range(600):
        store.set(f"symbol:{number:032X}", b"s" * sizes[number % 3], timeout=None)
        if number % 10 == 0:
            kept = sum(store.get(name) is not None for name in used)
            # Redis' clock for this counts seconds, which are long beside this test.
            assert IS_REDIS or kept == len(used), f"{kept} of {len(used)} used ones are left after {number}"
    info = server.info()
    assert info["evicted_keys"] > 100
    assert info["used_memory"] <= 105 * 1024 * 1024
    assert store.get(f"symbol:{0:032X}") is None
    assert len(store.get(f"symbol:{599:032X}")) == sizes[599 % 3]
