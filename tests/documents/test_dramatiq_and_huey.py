"""Dramatiq, whose broker is one script that names a single key, and Huey, whose schedule is taken by one: by their own
packages, with workers in threads."""

import datetime
import threading
import time

import dramatiq
import pytest
from conftest import IS_REDIS, PATIENCE_S, eventually
from dramatiq.brokers.redis import RedisBroker
from dramatiq.rate_limits import ConcurrentRateLimiter, WindowRateLimiter
from dramatiq.rate_limits.backends import RedisBackend as RedisLimits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as RedisResults
from dramatiq.results.errors import ResultFailure
from huey import PriorityRedisHuey
from huey.exceptions import TaskException, TaskLockedException


@pytest.fixture
def broker(sharded):
    broker = RedisBroker(url=sharded.url, maintenance_chance=1_000_000)
    broker.add_middleware(Results(backend=RedisResults(url=sharded.url)))
    broker.add_middleware(dramatiq.middleware.GroupCallbacks(RedisLimits(url=sharded.url)))
    broker.server, broker.workers = sharded, []
    dramatiq.set_broker(broker)  # Messages ask it for their results.
    yield broker
    for worker in broker.workers:
        worker.stop()
    broker.close()


def works(broker, threads=4):
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=threads)
    worker.start()
    broker.workers.append(worker)


def test_dramatiqs_messages_are_done_once(broker):
    done, finished = [], threading.Event()

    @dramatiq.actor(broker=broker, store_results=True)
    def double(number):
        done.append(number)
        return number * 2

    @dramatiq.actor(broker=broker, queue_name="other", store_results=True)
    def add(one, other):
        return one + other

    @dramatiq.actor(broker=broker)
    def all_done():
        finished.set()

    messages = [double.send(number) for number in range(100)]
    assert broker.server.client().llen("dramatiq:default") == 100
    [works(broker, 2) for _ in range(2)]
    assert [message.get_result(block=True, timeout=PATIENCE_S * 1000) for message in messages] == [2 * n for n in range(100)]
    broker.join("default", timeout=PATIENCE_S * 1000)
    assert sorted(done) == list(range(100)), "each once"
    pipeline = (double.message(1) | add.message(10) | add.message(100)).run()
    assert pipeline.get_result(block=True, timeout=PATIENCE_S * 1000) == 112
    group = dramatiq.group(double.message(number) for number in range(10))
    group.add_completion_callback(all_done.message())
    group.run()
    assert sorted(group.get_results(block=True, timeout=PATIENCE_S * 1000)) == list(range(0, 20, 2)) and finished.wait(PATIENCE_S)
    if not IS_REDIS:
        r = broker.server.client()
        assert (r.info("Corering")["scripts_widened"] > 0) == (int(r.config_get("shards")["shards"]) > 1)
    [eventually(lambda: not broker.server.client().exists(f"dramatiq:{queue}.msgs")) for queue in ("default", "other")]


def test_dramatiqs_retries_delays_and_dead_messages(broker):
    moments, tries = [], []

    @dramatiq.actor(broker=broker, max_retries=5, min_backoff=50, max_backoff=100, store_results=True)
    def flaky():
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise ValueError("not yet")
        return "at last"

    @dramatiq.actor(broker=broker, max_retries=0, store_results=True)
    def bad():
        raise ValueError("why")

    @dramatiq.actor(broker=broker)
    def moment(name):
        moments.append((name, time.monotonic()))

    begin = time.monotonic()
    moment.send_with_options(args=("late",), delay=3000)
    moment.send("now")
    works(broker)
    assert flaky.send().get_result(block=True, timeout=PATIENCE_S * 1000) == "at last" and len(tries) == 3
    failed = bad.send()
    with pytest.raises(ResultFailure, match="why"):
        failed.get_result(block=True, timeout=PATIENCE_S * 1000)
    r = broker.server.client()
    assert eventually(lambda: r.zrange("dramatiq:default.XQ", 0, -1)) == [failed.options["redis_message_id"]]
    assert r.hkeys("dramatiq:default.XQ.msgs") == [failed.options["redis_message_id"]]
    eventually(lambda: len(moments) == 2)
    assert [name for name, _ in moments] == ["now", "late"] and moments[1][1] - begin >= 2.99
    moment.send_with_options(args=("never",), delay=60_000)
    broker.flush_all()
    assert r.keys("dramatiq:default*") == []


def test_dramatiqs_messages_of_a_dead_worker_are_taken_by_another(sharded):
    done = []

    def broker_of(heartbeat_ms):
        broker = RedisBroker(url=sharded.url, maintenance_chance=1_000_000, heartbeat_timeout=heartbeat_ms)

        @dramatiq.actor(broker=broker)
        def note(name):
            done.append(name)

        return broker, note

    (dead, note), (alive, _) = broker_of(300), broker_of(300)
    [note.send(name) for name in "abcd"]
    taken = next(iter(dead.consume("default", prefetch=3)))
    r = sharded.client()
    assert taken is not None and r.zcard("dramatiq:__heartbeats__") == 1
    held = r.scard(f"dramatiq:__acks__.{dead.broker_id}.default")
    assert held >= 1 and held + r.llen("dramatiq:default") == 4
    time.sleep(0.4)
    worker = dramatiq.Worker(alive, worker_timeout=100, worker_threads=2)
    worker.start()
    eventually(lambda: len(done) == 4)
    worker.stop()
    assert sorted(done) == list("abcd") and not r.exists(f"dramatiq:__acks__.{dead.broker_id}.default")
    dead.close(), alive.close()


def test_dramatiqs_limits(sharded):
    limits = RedisLimits(url=sharded.url)
    mutex = ConcurrentRateLimiter(limits, "mutex", limit=2, ttl=30_000)
    with mutex.acquire() as first, mutex.acquire() as second, mutex.acquire(raise_on_failure=False) as third:
        assert (first, second, third) == (True, True, False)
    with mutex.acquire(raise_on_failure=False) as again:
        assert again
    window = WindowRateLimiter(limits, "window", limit=5, window=30)
    admitted = []
    for _ in range(8):
        with window.acquire(raise_on_failure=False) as inside:
            admitted.append(inside)
    assert admitted == [True] * 5 + [False] * 3


def test_hueys_tasks(sharded):
    huey = PriorityRedisHuey("site", url=sharded.url, read_timeout=1)
    done, tries, r = [], [], sharded.client()

    @huey.task()
    def add(one, other):
        done.append((one, other))
        return one + other

    @huey.task(retries=3, retry_delay=0)
    def flaky():
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return "at last"

    @huey.task()
    def fail():
        raise ValueError("why")

    urgent = [add(number, 0, priority=number) for number in (1, 9, 5)]
    later = add.schedule((100, 1), delay=1)
    never = add.schedule((100, 2), eta=datetime.datetime.now() + datetime.timedelta(hours=1))
    revoked = add(100, 3)
    revoked.revoke()
    assert huey.pending_count() == 6 == r.zcard("huey.redis.site")
    consumer = huey.create_consumer(workers=1, periodic=False, check_worker_health=False)
    consumer.start()
    try:
        assert [result.get(blocking=True, timeout=PATIENCE_S) for result in urgent] == [1, 9, 5]
        assert done[:3] == [(9, 0), (5, 0), (1, 0)]
        assert later.get(blocking=True, timeout=PATIENCE_S) == 101
        retried = flaky()

        def outcome():
            try:
                return retried.get(preserve=True)
            except TaskException:  # Of a try that was not the last.
                retried.reset()

        assert eventually(outcome) == "at last" and len(tries) == 3
        with pytest.raises(TaskException, match="why"):
            fail().get(blocking=True, timeout=PATIENCE_S)
        assert huey.scheduled_count() == 1 and never.get() is None and (100, 3) not in done
        with huey.lock_task("alone"), pytest.raises(TaskLockedException), huey.lock_task("alone"):
            raise AssertionError("two hold it")
        pipeline = add.s(1, 2).then(add, 3).then(add, 4)
        assert huey.enqueue(pipeline).get(blocking=True, timeout=PATIENCE_S) == [3, 6, 10]
        many = add.map([(number, 1) for number in range(50)])
        assert many.get(blocking=True, timeout=PATIENCE_S) == [number + 1 for number in range(50)]
    finally:
        consumer.stop(graceful=True)
    assert len(done) == len(set(done)), "each once"
    huey.flush()
    assert huey.pending_count() == 0 and huey.scheduled_count() == 0 and r.keys("huey.*.site") == []
