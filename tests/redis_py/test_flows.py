"""What people build with Redis, as they build it with redis-py and without scripts: queues, schedules, leaderboards, rate
limiters, locks, caches. Each flow asserts what its users rely on: nothing lost, nothing done twice, order, ties, times.

Run by `run` beside redis-py's own tests; against Redis itself it passes too (SERVER may be redis-server).
"""

import threading
import time

import pytest
import redis

# How long anything is waited for: machines that test are shared, and what comes true sooner costs nothing.
PATIENCE_S = 120


@pytest.fixture
def connect(request):
    url = request.config.getoption("--redis-url")
    protocol = int(request.config.getoption("--protocol"))
    made = []

    def new():
        client = redis.Redis.from_url(url, protocol=protocol, decode_responses=True)
        made.append(client)
        return client

    new().flushall()
    yield new
    for client in made:
        client.close()


@pytest.fixture
def r(connect):
    return connect()


def together(count, work):
    """Runs `work(number)` in so many threads; raises what one of them raised."""
    failures = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    if failures:
        raise failures[0]
    assert not any(thread.is_alive() for thread in threads)


# Queues


def test_reliable_queue_loses_nothing_when_a_worker_dies(connect, r):
    jobs = [f"job:{number}" for number in range(300)]
    done = []
    guard, is_all_there, is_one_dead = threading.Lock(), threading.Event(), threading.Event()

    def worker(number):
        client, mine = connect(), f"queue:working:{number}"
        taken = 0
        while True:
            # The others let the one that is to die come to its fifth.
            if number != 0 and taken == 20:
                assert is_one_dead.wait(PATIENCE_S)
            job = client.blmove("queue:wait", mine, 1, "RIGHT", "LEFT")
            if job is None:
                if is_all_there.is_set():
                    return
                continue
            taken += 1
            if number == 0 and taken == 5:
                is_one_dead.set()
                return  # It dies with a job in its hands.
            with guard:
                done.append(job)
            assert client.lrem(mine, 1, job) == 1

    workers = threading.Thread(target=together, args=(4, worker))
    workers.start()
    for job in jobs:
        r.lpush("queue:wait", job)
    is_all_there.set()
    workers.join(2 * PATIENCE_S)
    assert r.llen("queue:wait") == 0
    # What the dead one left is found and given back.
    left = [r.lmove("queue:working:0", "queue:wait", "RIGHT", "LEFT") for _ in range(r.llen("queue:working:0"))]
    assert len(left) == 1
    assert sorted(done + r.lrange("queue:wait", 0, -1)) == sorted(jobs)
    assert not any(r.exists(f"queue:working:{number}") for number in range(4))


def test_one_worker_takes_jobs_in_order_and_of_the_first_queue_that_has_one(connect, r):
    r.rpush("queue:low", "l1", "l2")
    r.rpush("queue:high", "h1")
    queues = ["queue:high", "queue:low"]
    assert r.blpop(queues, 1) in (("queue:high", "h1"), ["queue:high", "h1"])
    assert r.blpop(queues, 1)[1] == "l1"
    threading.Timer(0.1, lambda: connect().rpush("queue:high", "h2")).start()
    assert r.blpop(queues[:1], PATIENCE_S)[1] == "h2"
    assert r.blpop(queues, 1)[1] == "l2"
    before = time.monotonic()
    assert r.blpop(queues, 0.2) is None
    assert 0.15 < time.monotonic() - before


def test_a_job_with_states_moves_in_transactions(r):
    """As BullMQ and RQ keep a job: a hash, and its id in one of the lists and sorted sets of states."""
    for number in range(20):
        with r.pipeline(transaction=True) as pipe:
            pipe.incr("bull:id")
            pipe.hset(f"bull:{number}", mapping={"name": "mail", "data": "{}", "attempts": 0})
            pipe.lpush("bull:wait", number)
            pipe.publish("bull:added", number)
            assert pipe.execute()[0] == number + 1
    finished = failed = 0
    while job := r.rpoplpush("bull:wait", "bull:active"):
        assert r.set(f"bull:{job}:lock", "token", nx=True, px=30000)
        attempts = r.hincrby(f"bull:{job}", "attempts", 1)
        with r.pipeline(transaction=True) as pipe:
            pipe.lrem("bull:active", -1, job)
            if int(job) % 5 == 0 and attempts == 1:
                pipe.zadd("bull:delayed", {job: time.time() * 1000})
                failed += 1
            else:
                pipe.zadd("bull:completed", {job: attempts})
                pipe.hset(f"bull:{job}", "finishedOn", int(time.time() * 1000))
                finished += 1
            pipe.delete(f"bull:{job}:lock")
            assert pipe.execute()[0] == 1
        # What is due comes back, once.
        for due in r.zrange("bull:delayed", "-inf", time.time() * 1000 + 1, byscore=True, offset=0, num=10):
            if r.zrem("bull:delayed", due):
                r.lpush("bull:wait", due)
    assert (finished, failed) == (20, 4)
    assert r.zcard("bull:completed") == 20 and r.zcount("bull:completed", 2, 2) == 4
    assert r.exists("bull:wait", "bull:active", "bull:delayed") == 0
    assert [r.hget(f"bull:{number}", "attempts") for number in (0, 1)] == ["2", "1"]


def test_a_schedule_hands_each_due_job_to_one_worker(connect, r):
    """As Sidekiq polls: many look for what is due, the one whose ZREM counts takes it."""
    now = time.time()
    r.zadd("schedule", {f"job:{number}": now - 100 + number for number in range(200)})
    r.zadd("schedule", {"job:later": now + 1000})

    def poll(_):
        client = connect()
        while due := client.zrangebyscore("schedule", "-inf", now + 500, start=0, num=7):
            for job in due:
                if client.zrem("schedule", job):
                    client.rpush("due", job)

    together(5, poll)
    assert sorted(r.lrange("due", 0, -1)) == sorted(f"job:{number}" for number in range(200))
    assert r.zrange("schedule", 0, -1) == ["job:later"]


def test_messages_that_are_not_acknowledged_come_back(r):
    """As Celery's transport keeps them: a hash of messages, a sorted set of when they were taken, both in one go."""
    r.lpush("celery", *[f"m{number}" for number in range(10)])
    taken_at = 1_000_000
    for turn in range(10):
        _, message = r.brpop(["celery", "celery\x06\x163"], 1)
        with r.pipeline() as pipe:
            pipe.zadd("unacked_index", {message: taken_at + turn}).hset("unacked", message, message)
            assert pipe.execute() == [1, 1]
    for message in ("m0", "m1", "m2"):
        with r.pipeline() as pipe:
            assert pipe.zrem("unacked_index", message).hdel("unacked", message).execute() == [1, 1]
    # The others are too old by now.
    for message, _ in r.zrevrangebyscore("unacked_index", taken_at + 100, 0, start=0, num=100, withscores=True):
        with r.pipeline() as pipe:
            pipe.watch("unacked_index")
            pipe.multi()
            pipe.zrem("unacked_index", message).hdel("unacked", message).rpush("celery", message)
            pipe.execute()
    assert r.lrange("celery", 0, -1) == [f"m{number}" for number in range(9, 2, -1)]
    assert r.exists("unacked", "unacked_index") == 0


# Leaderboards


def test_leaderboard(connect, r):
    players = [f"player:{number:03}" for number in range(60)]

    def play(number):
        client = connect()
        for turn in range(30):
            client.zincrby("board", 1 + turn % 3, players[(number * 7 + turn) % len(players)])

    together(4, play)
    board = r.zrevrange("board", 0, -1, withscores=True)
    assert sum(score for _, score in board) == 4 * 30 * 2
    # Ties stand in the order of names, backwards from the top.
    assert [tuple(row) for row in board] == sorted(map(tuple, board), key=lambda row: (row[1], row[0]), reverse=True)
    for rank in (0, 5, 20):
        name, score = board[rank]
        assert r.zrevrank("board", name) == rank and r.zscore("board", name) == score
        around = r.zrange("board", max(0, rank - 2), rank + 2, desc=True)
        assert around == [row[0] for row in board[max(0, rank - 2) : rank + 3]]
    best = board[0]
    assert r.zadd("board", {best[0]: best[1] - 1}, gt=True, ch=True) == 0
    assert r.zadd("board", {best[0]: best[1] + 1}, gt=True, ch=True) == 1
    assert r.zadd("board", {"nobody": 5}, xx=True, ch=True) == 0
    assert r.zadd("board", {best[0]: 0.5}, incr=True) == best[1] + 1.5
    r.zadd("board:yesterday", {best[0]: 100, "gone": 1})
    assert r.zunionstore("board:week", {"board": 1, "board:yesterday": 2}) == len(board) + 1
    assert r.zscore("board:week", best[0]) == best[1] + 1.5 + 200
    assert r.zremrangebyrank("board:week", 0, -11) == len(board) + 1 - 10
    assert r.zcard("board:week") == 10


# Rate limiters


def test_fixed_window_limits_all_clients_together(connect, r):
    allowed = []

    def call(_):
        client = connect()
        for _ in range(25):
            with client.pipeline() as pipe:
                count, _ = pipe.incr("rate:user").expire("rate:user", 10_000, nx=True).execute()
            if count <= 40:
                allowed.append(count)

    together(4, call)
    assert sorted(allowed) == list(range(1, 41))
    assert r.get("rate:user") == "100" and 9_000 < r.ttl("rate:user") <= 10_000


def test_sliding_window(r):
    def is_allowed(now_ms, name):
        with r.pipeline() as pipe:
            pipe.zremrangebyscore("window", 0, now_ms - 1000)
            pipe.zcard("window")
            pipe.zadd("window", {f"{now_ms}:{name}": now_ms})
            pipe.pexpire("window", 1_000_000)  # Of the server's time, which is another one here.
            _, count, _, _ = pipe.execute()
        if count < 3:
            return True
        r.zrem("window", f"{now_ms}:{name}")
        return False

    start_ms = 1_000_000
    calls = [(0, True), (100, True), (200, True), (300, False), (1000, True), (1050, False), (1101, True), (1150, False)]
    assert [is_allowed(start_ms + at, at) for at, _ in calls] == [expected for _, expected in calls]


def test_token_bucket_by_watching(connect, r):
    r.hset("bucket", mapping={"tokens": 30, "rounds": 0})
    taken = []

    def take(_):
        client = connect()
        while True:
            with client.pipeline() as pipe:
                try:
                    pipe.watch("bucket")
                    tokens = int(pipe.hget("bucket", "tokens"))
                    if tokens == 0:
                        return
                    pipe.multi()
                    pipe.hset("bucket", "tokens", tokens - 1)
                    pipe.hincrby("bucket", "rounds", 1)
                    pipe.execute()
                    taken.append(tokens)
                except redis.WatchError:
                    continue

    together(4, take)
    assert sorted(taken) == list(range(1, 31))
    assert r.hgetall("bucket") == {"tokens": "0", "rounds": "30"}


# Locks, caches, counts


def test_a_lock_is_held_by_one_and_runs_out(connect, r):
    inside = []

    def enter(number):
        client = connect()
        for _ in range(5):
            while not client.set("lock", number, nx=True, px=300_000):
                time.sleep(0.002)
            inside.append(number)
            assert len(inside) == 1
            inside.pop()
            with client.pipeline() as pipe:
                pipe.watch("lock")
                assert pipe.get("lock") == str(number)
                pipe.multi()
                assert pipe.delete("lock").execute() == [1]

    together(4, enter)
    assert r.set("lock", "dead", nx=True, px=50)
    time.sleep(0.1)
    assert r.set("lock", "next", nx=True, px=300_000)


def test_a_cache_is_carried_over_as_it_is(connect, r):
    r.hset("session:1", mapping={"user": "u", "seen": 5})
    r.expire("session:1", 50_000)
    r.rpush("cart:1", *range(200))
    r.zadd("scores:1", {f"m{number}": number / 3 for number in range(300)})
    for key in ("session:1", "cart:1", "scores:1"):
        payload = redis.Redis.from_url(
            "redis://127.0.0.1:%d/0" % r.connection_pool.connection_kwargs["port"]
        ).dump(key)
        ttl = max(0, r.pttl(key))
        with pytest.raises(redis.ResponseError, match="BUSYKEY"):
            r.restore(key, ttl, payload)
        r.rename(key, key + ":old")
        assert r.restore(key, ttl, payload)
        with pytest.raises(redis.ResponseError, match="checksum"):
            r.restore("broken", 0, payload[:-1] + bytes([payload[-1] ^ 1]))
    assert 49_000 < r.ttl("session:1") <= 50_000
    assert r.hgetall("session:1") == r.hgetall("session:1:old")
    assert r.lrange("cart:1", 0, -1) == r.lrange("cart:1:old", 0, -1)
    assert r.zrange("scores:1", 0, -1, withscores=True) == r.zrange("scores:1:old", 0, -1, withscores=True)


def test_who_was_there(r):
    days = ["day:1", "day:2"]
    for day, users in zip(days, (range(0, 1000), range(500, 1500))):
        with r.pipeline(transaction=False) as pipe:
            for user in users:
                pipe.setbit(f"bits:{day}", user, 1).sadd(f"set:{day}", user).pfadd(f"hll:{day}", user)
            pipe.execute()
    assert r.bitcount("bits:day:1") == r.scard("set:day:1") == 1000
    r.bitop("AND", "bits:both", *[f"bits:{day}" for day in days])
    assert r.bitcount("bits:both") == len(r.sinter([f"set:{day}" for day in days])) == 500
    assert abs(r.pfcount(*[f"hll:{day}" for day in days]) - 1500) < 60
    assert r.sdiffstore("set:new", ["set:day:2", "set:day:1"]) == 500
    assert sum(1 for _ in r.sscan_iter("set:new", count=50)) == 500


def test_what_is_near(r):
    r.geoadd("shops", (13.361389, 38.115556, "palermo", 15.087269, 37.502669, "catania", 2.35, 48.85, "paris"))
    near = r.geosearch("shops", longitude=15, latitude=37, radius=200, unit="km", sort="ASC", withdist=True)
    assert [name for name, _ in near] == ["catania", "palermo"]
    assert abs(r.geodist("shops", "palermo", "catania", unit="km") - 166.2742) < 0.01
    assert r.geosearchstore("near", "shops", member="palermo", radius=500, unit="km", storedist=True) == 2
    assert r.zrange("near", 0, 0) == ["palermo"]
