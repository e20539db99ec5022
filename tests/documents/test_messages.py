"""Messages: publish and subscribe, streams with groups whose consumers die, locks, and one keyspace over several nodes as
a cluster client sees it."""

import json
import threading
import uuid

import pytest
import redis
from conftest import IS_REDIS, PATIENCE_S, eventually, free_ports


def test_updates_reach_subscribers_by_name_and_by_pattern(start):
    server = start()
    r, got = server.client(), []
    ready = threading.Barrier(3)

    def listen(subscribe, name, kind):
        pubsub = server.client().pubsub()
        getattr(pubsub, subscribe)(name)
        assert pubsub.get_message(timeout=PATIENCE_S)["type"] == subscribe
        ready.wait(PATIENCE_S)
        while (message := pubsub.get_message(timeout=PATIENCE_S)) is not None:
            assert message["type"] == kind
            if message["data"] == "end":
                return
            got.append((kind, message["channel"], json.loads(message["data"])["price"]))

    threads = [threading.Thread(target=listen, args=words)
               for words in (("subscribe", "price_updates", "message"), ("psubscribe", "*_updates", "pmessage"))]
    [thread.start() for thread in threads]
    ready.wait(PATIENCE_S)
    for price in range(100):
        assert r.publish("price_updates", json.dumps({"product_id": "p", "price": price})) == 2
    assert r.publish("inventory_updates", json.dumps({"price": -1})) == 1
    assert r.publish("elsewhere", "x") == 0
    assert r.publish("price_updates", "end") == 2
    [thread.join(PATIENCE_S) for thread in threads]
    assert [price for kind, _, price in got if kind == "message"] == list(range(100))
    assert [price for kind, _, price in got if kind == "pmessage"] == [*range(100), -1]


def test_orders_are_processed_though_a_consumer_dies(start):
    server = start()
    r, stream, group = server.client(), "orders:events", "order-processor"
    for number in range(200):
        fields = {"order_id": f"ord-{number}", "event_type": "OrderPlaced", "payload": json.dumps({"total": 149.99})}
        r.xadd(stream, fields, maxlen=100_000, approximate=True)

    def ensure_group():
        try:
            r.xgroup_create(stream, group, id="0", mkstream=True)
        except redis.exceptions.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    ensure_group()
    ensure_group()
    # One that takes messages and dies.
    (_, taken), = r.xreadgroup(group, "dead", {stream: ">"}, count=30)
    assert len(taken) == 30
    # As if minutes had gone by, which no living consumer keeps a message for.
    assert len(r.xclaim(stream, group, "dead", 0, [message for message, _ in taken], idle=600_000, justid=True)) == 30
    processed, lock = [], threading.Lock()

    def consume(name):
        own = server.client()
        idle_rounds = 0
        while idle_rounds < 2:
            claimed = own.xautoclaim(stream, group, name, min_idle_time=300_000, start_id="0-0", count=10)
            messages = own.xreadgroup(group, name, {stream: ">"}, count=10, block=300)
            batch = [*claimed[1], *(entry for _, entries in messages or [] for entry in entries)]
            idle_rounds = 0 if batch else idle_rounds + 1
            for message, fields in batch:
                with lock:
                    processed.append(fields["order_id"])
                assert own.xack(stream, group, message) == 1

    threads = [threading.Thread(target=consume, args=(f"pod-{number}",)) for number in range(3)]
    [thread.start() for thread in threads]
    [thread.join(PATIENCE_S) for thread in threads]
    assert sorted(processed) == sorted(f"ord-{number}" for number in range(200)), "each once"
    assert r.xpending(stream, group)["pending"] == 0 and r.xlen(stream) == 200
    info, = r.xinfo_groups(stream)
    assert info["lag"] == 0 and info["entries-read"] == 200


def test_a_lock_is_one_clients(start):
    server = start()
    r, token = server.client(), str(uuid.uuid4())
    assert r.set("lock:order:1", token, nx=True, px=300_000) is True
    assert server.client().set("lock:order:1", "other", nx=True, px=300_000) is None
    assert r.get("lock:order:1") == token and r.set("lock:order:1", token, xx=True, px=300) is True
    eventually(lambda: server.client().set("lock:order:1", "other", nx=True, px=300_000))
    assert r.get("lock:order:1") == "other" != token


@pytest.mark.skipif(IS_REDIS, reason="Redis needs several processes for a cluster")
def test_a_cluster_client_reaches_every_core(start):
    from redis.cluster import ClusterNode, RedisCluster

    port, base = free_ports(1, 2)
    server = start(f"shards 2\ncore-ports {base}\n", port)
    rc = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", base)], decode_responses=True)
    assert {node.port for node in rc.get_primaries()} == {base, base + 1}
    for key, value in (("session", "s"), ("cart", "3"), ("prefs", "dark")):
        rc.set(f"{{user:7}}:{key}", value)
    assert rc.mget(["{user:7}:session", "{user:7}:cart", "{user:7}:prefs"]) == ["s", "3", "dark"]
    pipe = rc.pipeline()
    for user in range(500):
        pipe.setex(f"user:{user}:profile", 3600, str(user))
    assert pipe.execute() == [True] * 500
    assert all(rc.get(f"user:{user}:profile") == str(user) for user in range(500))
    plain = server.client()
    assert plain.dbsize() == 503, "one keyspace, also for who knows of no cluster"
    forwarded = plain.info("Corering")
    assert forwarded
    rc.close()
