"""Rate limits and locks, which are scripts: the documents' sliding window and release of a lock, redis-py's Lock, and
Redlock over three servers, as pottery has it."""

import contextlib
import itertools
import random
import threading
import time
import uuid

import pytest
import redis
from conftest import IS_REDIS, PATIENCE_S, eventually, together
from redis.exceptions import LockError, LockNotOwnedError

# As it is written there.
RATE_LIMIT = """
local key = KEYS[1]
local now = tonumber(ARGV[1])
local window = tonumber(ARGV[2])
local limit = tonumber(ARGV[3])
local window_start = now - window
-- Remove expired entries
redis.call('ZREMRANGEBYSCORE', key, '-inf', window_start)
-- Count requests in the current window
local count = redis.call('ZCARD', key)
if count < limit then
-- Allow: add this request with the current timestamp as score
redis.call('ZADD', key, now, now .. ':' .. math.random(1000000))
redis.call('EXPIRE', key, math.ceil(window / 1000))
return {1, limit - count - 1, now + window}
else
-- Deny: return the timestamp of the oldest entry (when the window resets)
local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
local reset_at = oldest[2] and (tonumber(oldest[2]) + window) or (now + window)
return {0, 0, reset_at}
end
"""

# One user's window and everybody's, in keys that live apart; how often it was asked is in a key that nobody named.
TWO_WINDOWS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local number = redis.call('INCR', KEYS[1] .. ':asked')
for place = 1, 2 do
    redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', now - tonumber(ARGV[1]))
    if redis.call('ZCARD', KEYS[place]) >= tonumber(ARGV[1 + place]) then return 0 end
end
for place = 1, 2 do redis.call('ZADD', KEYS[place], now, now .. ':' .. number .. ':' .. KEYS[1]) end
return 1
"""

LOCK_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then
return redis.call('del', KEYS[1])
else
return 0
end
"""


def caller(way, r, text):
    """How a program calls a script: by its text, by its digest, or by what redis-py makes of it."""
    if way == "eval":
        return lambda keys, args: r.eval(text, len(keys), *keys, *args)
    if way == "evalsha":
        digest = r.script_load(text)
        return lambda keys, args: r.evalsha(digest, len(keys), *keys, *args)
    script = r.register_script(text)
    return lambda keys, args: script(keys=keys, args=args)


@pytest.mark.parametrize("way", ["eval", "evalsha", "register_script"])
def test_a_window_admits_exactly_its_limit(sharded, way):
    begin_ms, limit, window_ms = int(time.time() * 1000), 25, 600_000
    clock = itertools.count(begin_ms)
    identifiers = [f"10.0.0.{number}" for number in range(5)]

    def ask(number):
        call = caller(way, sharded.client(), RATE_LIMIT)
        return [(who, *call([f"ratelimit:{who}"], [next(clock), window_ms, limit]))
                for _ in range(12) for who in identifiers]

    answers = [answer for part in together(8, ask) for answer in part]
    r = sharded.client()
    for who in identifiers:
        own = [answer[1:] for answer in answers if answer[0] == who]
        assert len(own) == 96
        admitted = [answer for answer in own if answer[0] == 1]
        assert sorted(remaining for _, remaining, _ in admitted) == list(range(limit)), "each place once"
        (_, oldest), = r.zrange(f"ratelimit:{who}", 0, 0, withscores=True)
        assert {tuple(answer) for answer in own if answer[0] == 0} == {(0, 0, int(oldest) + window_ms)}
        assert r.zcard(f"ratelimit:{who}") == limit and 0 < r.ttl(f"ratelimit:{who}") <= 600
        assert {reset for _, _, reset in admitted} == {
            int(score) + window_ms for _, score in r.zrange(f"ratelimit:{who}", 0, -1, withscores=True)}


def test_a_window_slides(r):
    check = r.register_script(RATE_LIMIT)
    begin_ms = 1_700_000_000_000
    # The key lives for a window of the server's time, which is long beside this test.
    ask = lambda after_ms: check(keys=["ratelimit:ip"], args=[begin_ms + after_ms, 600_000, 3])
    assert [ask(after)[:2] for after in (0, 60_000, 540_000, 570_000)] == [[1, 2], [1, 1], [1, 0], [0, 0]]
    assert ask(599_999) == [0, 0, begin_ms + 600_000]
    assert ask(600_000) == [1, 0, begin_ms + 1_200_000], "the first is a window old"
    assert ask(659_999) == [0, 0, begin_ms + 660_000] and ask(660_000)[0] == 1
    assert ask(1_259_999) == [1, 1, begin_ms + 1_859_999], "one is left: that of 660,000"
    assert 0 < r.ttl("ratelimit:ip") <= 600
    assert check(keys=["ratelimit:brief"], args=[begin_ms, 1000, 3])[0] == 1
    eventually(lambda: not r.exists("ratelimit:brief"))
    # What comes in one millisecond is told apart by its random number.
    assert [ask(5_000_000)[:2] for _ in range(5)] == [[1, 2], [1, 1], [1, 0], [0, 0], [0, 0]]
    members = r.zrange("ratelimit:ip", 0, -1)
    assert all(1 <= int(member.removeprefix(f"{begin_ms + 5_000_000}:")) <= 1_000_000 for member in members)


def test_windows_of_one_and_of_all_hold_together(sharded):
    users, of_one, of_all = [f"user:{number}" for number in range(16)], 10, 100

    def ask(number):
        call = sharded.client().register_script(TWO_WINDOWS)
        order = users * 4
        random.Random(number).shuffle(order)
        return [(user, call(keys=[f"window:{user}", "window:all"], args=[600_000, of_one, of_all])) for user in order]

    answers = [answer for part in together(6, ask) for answer in part]
    r = sharded.client()
    assert len(answers) == 384 and sum(admitted for _, admitted in answers) == of_all == r.zcard("window:all")
    by_user = {user: sum(admitted for who, admitted in answers if who == user) for user in users}
    assert {user: r.zcard(f"window:{user}") for user in users} == by_user and max(by_user.values()) <= of_one
    assert [int(r.get(f"window:{user}:asked")) for user in users] == [24] * 16, "what was begun again counted once"
    if not IS_REDIS:
        shards = int(r.config_get("shards")["shards"])
        assert (r.info("Corering")["scripts_widened"] > 0) == (shards > 1)


def test_a_lock_is_released_by_its_holder_alone(sharded):
    key = "lock:order:1"

    def release_all(tokens):
        r = sharded.client()
        return lambda number: sum(r.eval(LOCK_RELEASE, 1, key, token) for token in tokens)

    r = sharded.client()
    for _ in range(20):
        token = str(uuid.uuid4())
        assert r.set(key, token, nx=True, px=300_000)
        assert sum(together(6, release_all([token, token]))) == 1, "one of all that try"
        assert not r.exists(key)
    # Tokens that have expired, against the lock of the next holder.
    lost = []
    for _ in range(20):
        lost.append(str(uuid.uuid4()))
        eventually(lambda: r.set(key, lost[-1], nx=True, px=3))
    token = str(uuid.uuid4())
    eventually(lambda: r.set(key, token, nx=True, px=300_000))
    assert together(6, release_all(lost * 5)) == [0] * 6
    assert r.get(key) == token and r.eval(LOCK_RELEASE, 1, key, token) == 1 and r.get(key) is None


def test_an_order_is_processed_by_one_at_a_time(sharded):
    orders, rounds = [f"order:{number}" for number in range(3)], 8

    def process(number):
        r, release = sharded.client(), sharded.client().register_script(LOCK_RELEASE)
        for _ in range(rounds):
            for order in orders:
                token = str(uuid.uuid4())
                while not r.set(f"lock:{order}", token, nx=True, px=300_000):
                    time.sleep(0.001)
                done = int(r.get(f"done:{order}") or 0)
                r.set(f"done:{order}", done + 1)
                assert release(keys=[f"lock:{order}"], args=[token]) == 1

    together(6, process)
    assert sharded.client().mget([f"done:{order}" for order in orders]) == [str(6 * rounds)] * 3


def test_redis_pys_lock_excludes(sharded):
    def count(number):
        r = sharded.client()
        for _ in range(15):
            with r.lock("count:lock", timeout=300, sleep=0.002):
                r.set("count", int(r.get("count") or 0) + 1)

    together(6, count)
    assert sharded.client().get("count") == "90" and not sharded.client().exists("count:lock")


def test_redis_pys_lock_waits_so_long(start):
    server = start()
    r = server.client()
    held = r.lock("l", timeout=300)
    assert held.acquire() and held.locked() and held.owned()
    other = server.client().lock("l", timeout=300, sleep=0.01)
    assert not other.acquire(blocking=False) and not other.owned() and other.locked()
    before = time.monotonic()
    assert not other.acquire(blocking_timeout=0.3)
    assert 0.25 < time.monotonic() - before
    assert not server.client().lock("l", blocking=False).acquire()
    timer = threading.Timer(0.2, r.delete, ("l",))
    timer.start()
    assert other.acquire(blocking_timeout=PATIENCE_S) and r.get("l") == other.local.token.decode()
    timer.join()
    with pytest.raises(LockNotOwnedError, match="Cannot release a lock that's no longer owned"):
        held.release()
    other.release()
    with pytest.raises(LockError, match="Unable to acquire lock within the time specified"):
        with r.lock("l", timeout=300), server.client().lock("l", blocking_timeout=0.05):
            raise AssertionError("two hold it")


def test_redis_pys_lock_is_extended_and_taken_again(r):
    lock = r.lock("l", timeout=1000)
    assert lock.acquire() and 900_000 < r.pttl("l") <= 1_000_000
    assert lock.extend(1000) and 1_900_000 < r.pttl("l") <= 2_000_000
    assert lock.extend(550.5, replace_ttl=True) and 500_000 < r.pttl("l") <= 550_500
    assert lock.reacquire() and 900_000 < r.pttl("l") <= 1_000_000
    lock.release()
    for act in (lock.release, lambda: lock.extend(1), lock.reacquire):
        with pytest.raises(LockError, match="unlocked"):
            act()
    forever = r.lock("forever")
    assert forever.acquire() and r.pttl("forever") == -1
    for act in (lambda: forever.extend(1), forever.reacquire):
        with pytest.raises(LockError, match="with no timeout"):
            act()


def test_redis_pys_lock_tells_when_it_was_lost(r):
    lock = r.lock("l", timeout=0.05)
    for take in (lambda: None, lambda: r.set("l", "another's")):
        assert lock.acquire()
        eventually(lambda: not r.exists("l"))
        take()
        before = r.get("l")
        for act in (lambda: lock.extend(1), lambda: lock.extend(1, replace_ttl=True), lock.reacquire, lock.release):
            token = lock.local.token
            with pytest.raises(LockNotOwnedError):
                act()
            lock.local.token = token
        lock.local.token = None
        assert r.get("l") == before and r.ttl("l") in (-1, -2)
        r.delete("l")
    with pytest.raises(LockNotOwnedError), r.lock("brief", timeout=0.02):
        time.sleep(0.1)
    with r.lock("brief", timeout=0.02, raise_on_release_error=False):
        time.sleep(0.1)


def test_redis_pys_lock_belongs_to_a_thread(r):
    for of_thread in (True, False):
        lock, outcome = r.lock("l", timeout=300, thread_local=of_thread), []

        def release():
            try:
                lock.release()
                outcome.append("released")
            except (LockError, AttributeError):  # By version: a thread that never held it has no token at all.
                outcome.append("refused")

        assert lock.acquire()
        thread = threading.Thread(target=release)
        thread.start()
        thread.join(PATIENCE_S)
        assert outcome == ["refused" if of_thread else "released"]
        assert r.exists("l") == of_thread
        r.delete("l")


@pytest.fixture
def masters(start):
    """Three servers that know nothing of each other, and their clients, which do not wait for one that is gone."""
    servers = [start("" if IS_REDIS else "shards 2\n") for _ in range(3)]
    no_retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return servers, lambda: [server.client(decode_responses=False, socket_timeout=60, retry=no_retry) for server in servers]


def test_redlock_excludes_over_three_servers(masters):
    from pottery import Redlock

    servers, clients = masters
    state = {"inside": 0, "count": 0}

    def run(number):
        lock = Redlock(key="printer", masters=set(clients()), auto_release_time=30)
        for _ in range(4):
            with lock:
                state["inside"] += 1
                assert state["inside"] == 1, "two hold it"
                count = state["count"]
                time.sleep(0.005)
                state["count"] = count + 1
                state["inside"] -= 1

    together(4, run)
    assert state["count"] == 16
    # What comes to one server after the lock was let go, since the others had agreed long before, goes with its time.
    for server in servers:
        eventually(lambda: not server.client().exists("redlock:printer"))


def test_redlock_lives_through_the_end_of_one_server_and_not_of_two(masters):
    from pottery import QuorumIsImpossible, QuorumNotAchieved, Redlock, ReleaseUnlockedLock, TooManyExtensions
    from pottery.exceptions import ExtendUnlockedLock

    servers, clients = masters
    mine = Redlock(key="printer", masters=set(clients()), auto_release_time=600, num_extensions=2)
    other = Redlock(key="printer", masters=set(clients()), auto_release_time=600, raise_on_redis_errors=True)
    key = "redlock:printer"
    assert mine.acquire() and 400 < mine.locked() <= 600 and not other.locked()
    eventually(lambda: len({server.client().get(key) for server in servers} - {None}) == 1
               and all(server.client().exists(key) for server in servers))
    assert not other.acquire(blocking=False)
    servers[0].kill()
    assert 400 < mine.locked() <= 600 and not other.acquire(blocking=False)
    # As if half of the time had gone by.
    assert all(server.client().pexpire(key, 300_000) for server in servers[1:])
    mine.extend()
    assert all(400_000 < server.client().pttl(key) <= 600_000 for server in servers[1:])
    mine.extend()
    with pytest.raises(TooManyExtensions):
        mine.extend()
    mine.release()
    assert not servers[1].client().exists(key) and not servers[2].client().exists(key)
    for act, error in ((mine.release, ReleaseUnlockedLock), (other.extend, ExtendUnlockedLock)):
        with pytest.raises(error):
            act()
    assert other.acquire(blocking=False), "two of three are enough"
    assert not mine.acquire(blocking=False)
    # One comes again, without memory of the lock: it is still the other's.
    servers[0].launch()
    assert not mine.acquire(blocking=False) and other.locked()
    eventually(lambda: not servers[0].client().exists(key))  # What it took there is let go.
    other.release()
    servers[0].kill(), servers[1].kill()
    with pytest.raises(QuorumIsImpossible):
        other.acquire(blocking=False)
    assert not mine.acquire(blocking=False)
    with pytest.raises(QuorumNotAchieved), contextlib.ExitStack() as stack:
        stack.enter_context(Redlock(key="printer", masters=set(clients()), context_manager_blocking=False))


def test_identities_by_three_servers_are_never_given_twice(masters):
    from pottery import NextID

    servers, clients = masters

    def take(number):
        source = NextID(key="tweet", masters=set(clients()), num_tries=100)
        got = [next(source) for _ in range(5)]
        assert got == sorted(got)
        return got

    got = sum(together(4, take), [])
    assert len(set(got)) == 20
    servers[2].kill()
    assert next(NextID(key="tweet", masters=set(clients()))) > max(got)
