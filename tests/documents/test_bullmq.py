"""BullMQ's queues by its own package and its own scripts, which name few of the keys they use: jobs, delays, retries,
priorities, flows, repetition, limits, locks that are lost, and events."""

import asyncio
import json
import time

import pytest
from bullmq import FlowProducer, Job, Queue, QueueEvents, UnrecoverableError, Worker
from conftest import IS_REDIS, PATIENCE_S


class Site:
    """Queues, workers and listeners of one test on one server; whatever one of them reports as an error fails it."""

    def __init__(self, server):
        self.server, self.opened, self.errors = server, [], []
        self.connection = {"connection": {"host": "127.0.0.1", "port": server.port}}

    def queue(self, name="orders", **options):
        return self.open(Queue(name, {**self.connection, **options}))

    def flows(self):
        return self.open(FlowProducer(self.connection))

    def worker(self, process, name="orders", **options):
        worker = self.open(Worker(name, process, {**self.connection, **options}))
        worker.on("error", lambda error, *_: self.errors.append(error))
        return worker

    def events(self, name="orders"):
        return self.open(QueueEvents(name, {**self.connection, "lastEventId": "0"}))

    def open(self, one):
        self.opened.append(one)
        return one

    async def close(self):
        """A worker's end cannot be cancelled: one that hangs is told, and left."""
        for one in reversed(self.opened):
            closing = asyncio.ensure_future(one.close(force=True) if isinstance(one, Worker) else one.close())
            done, _ = await asyncio.wait({closing}, timeout=PATIENCE_S)
            if not done:
                self.errors.append(f"{one} does not end: {[task.get_stack() for task in asyncio.all_tasks()]}")
        assert self.errors == []


def played(server, play):
    """Runs `play(site)` to its end."""

    async def run():
        site = Site(server)
        try:
            await asyncio.wait_for(play(site), 2 * PATIENCE_S)
        finally:
            await site.close()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


async def until(check, seconds=PATIENCE_S):
    """What the coroutine function `check` returned when that was true."""
    deadline = time.monotonic() + seconds
    while not (value := await check()):
        assert time.monotonic() < deadline, "it did not come to be"
        await asyncio.sleep(0.02)
    return value


async def counts(queue, **expected):
    """Waits until so many jobs are in these states."""
    try:
        await until(lambda: reached(queue, expected))
    except AssertionError:
        assert await queue.getJobCounts(*expected) == expected
        raise


async def reached(queue, expected):
    return await queue.getJobCounts(*expected) == expected


def test_each_job_is_done_once(sharded):
    """By several workers, of which each does several at once, as jobs come one by one and many at a time."""

    async def play(site):
        done, queue = [], site.queue()

        async def process(job, token):
            done.append(job.data["number"])
            await job.updateProgress(50)
            await asyncio.sleep(0)
            return job.data["number"] * 2

        workers = [site.worker(process, concurrency=4) for _ in range(3)]
        ones = [await queue.add("charge", {"number": number}) for number in range(40)]
        bulk = await queue.addBulk([{"name": "charge", "data": {"number": number}} for number in range(40, 120)])
        await counts(queue, completed=120, waiting=0, active=0, failed=0)
        assert sorted(done) == list(range(120)), "each once"
        assert [job.id for job in ones] == [str(number) for number in range(1, 41)], "the ids count"
        for job in (ones[7], bulk[30]):
            stored = await Job.fromId(queue, job.id)
            assert stored.returnvalue == stored.data["number"] * 2 and stored.progress == 50
            assert stored.attemptsMade == 1 and stored.finishedOn >= stored.processedOn
            assert await queue.getJobState(job.id) == "completed"
        assert len(await queue.get_workers()) >= len(workers), "each has a connection or two"
        assert [job.id for job in await queue.getCompleted(0, 4)] == [job.id for job in (await queue.getCompleted())[:5]]

    played(sharded, play)
    if not IS_REDIS:
        r = sharded.client()
        assert (r.info("Corering")["scripts_widened"] > 0) == (int(r.config_get("shards")["shards"]) > 1)


def test_jobs_that_fail_are_tried_again(sharded):
    async def play(site):
        begun_ms, queue = [], site.queue()

        async def process(job, token):
            if job.name == "flaky" and job.attemptsMade < 2:
                begun_ms.append(time.time() * 1000)
                raise ValueError(f"attempt {job.attemptsMade + 1}")
            if job.name == "broken":
                raise ValueError("never")
            if job.name == "hopeless":
                raise UnrecoverableError("not again")
            begun_ms.append(time.time() * 1000)
            return "at last"

        site.worker(process)
        flaky = await queue.add("flaky", {}, {"attempts": 3, "backoff": {"type": "fixed", "delay": 200}})
        broken = await queue.add("broken", {}, {"attempts": 3})
        hopeless = await queue.add("hopeless", {}, {"attempts": 3})
        await counts(queue, completed=1, failed=2, delayed=0, waiting=0, active=0)
        assert len(begun_ms) == 3 and all(after - before >= 199 for before, after in zip(begun_ms, begun_ms[1:]))
        job = await Job.fromId(queue, flaky.id)
        assert (job.returnvalue, job.attemptsMade, len(job.stacktrace)) == ("at last", 3, 2)
        job = await Job.fromId(queue, broken.id)
        assert (job.failedReason, job.attemptsMade, len(job.stacktrace)) == ("never", 3, 3)
        job = await Job.fromId(queue, hopeless.id)
        assert (job.failedReason, job.attemptsMade) == ("not again", 1)
        await queue.retryJobs({"state": "failed"})
        await counts(queue, completed=1, failed=2, waiting=0, active=0)
        await until(lambda: attempts(queue, hopeless.id, 2))

    async def attempts(queue, job_id, expected):
        return (await Job.fromId(queue, job_id)).attemptsMade == expected

    played(sharded, play)


def test_delayed_jobs_come_in_time_and_in_order(sharded):
    async def play(site):
        came, queue = [], site.queue()

        async def process(job, token):
            came.append((job.name, job.timestamp, time.time() * 1000))

        for delay_ms in (900, 300, 600):
            await queue.add(f"after {delay_ms}", {}, {"delay": delay_ms})
        far = await queue.add("far", {}, {"delay": 3_600_000})
        removed = await queue.add("removed", {}, {"delay": 200})
        assert await queue.getJobState(far.id) == "delayed" and await queue.getDelayedCount() == 5
        assert await queue.remove(removed.id) == 1 and await queue.getJobState(removed.id) == "unknown"
        site.worker(process)
        await queue.add("now", {})
        await counts(queue, completed=4, delayed=1)
        due_ms = {name: added_ms + int(name.split()[1]) for name, added_ms, _ in came if name != "now"}
        assert [name for name, _, _ in came if name != "now"] == ["after 300", "after 600", "after 900"]
        assert all(due_ms[name] <= came_ms + 1 for name, _, came_ms in came if name != "now"), "none is early"
        # On a busy machine some may have been due before there was anything for now.
        (place, now_ms), = [(place, added_ms) for place, (name, added_ms, _) in enumerate(came) if name == "now"]
        assert place <= sum(due <= now_ms for due in due_ms.values()), (came, due_ms)
        await (await Job.fromId(queue, far.id)).promote()
        await counts(queue, completed=5, delayed=0)

    played(sharded, play)


def test_priorities_and_order(sharded):
    async def play(site):
        came, queue = [], site.queue()

        async def process(job, token):
            came.append(job.name)

        for name, options in (("c1", {"priority": 9}), ("b1", {"priority": 5}), ("a1", {"priority": 1}),
                              ("b2", {"priority": 5}), ("plain", {}), ("c2", {"priority": 9}), ("a2", {"priority": 1}),
                              ("last", {"lifo": True}), ("moved", {"priority": 9})):
            job = await queue.add(name, {}, options)
        await job.changePriority({"priority": 5})
        assert await queue.getCountsPerPriority([0, 1, 5, 9]) == {"0": 2, "1": 2, "5": 3, "9": 2}
        await queue.pause()
        assert await queue.isPaused()
        worker = site.worker(process)
        await asyncio.sleep(0.2)
        assert came == [], "the queue is paused"
        await queue.resume()
        await counts(queue, completed=9, prioritized=0, waiting=0)
        assert came == ["last", "plain", "a1", "a2", "b1", "b2", "moved", "c1", "c2"]
        await worker.close()

    played(sharded, play)


def test_a_parent_waits_for_its_children(sharded):
    """Over several queues, whose keys live apart; a child that fails fails its parent, or not, as it was told."""

    async def play(site):
        async def child(job, token):
            if job.data["number"] < 0:
                raise UnrecoverableError("no such page")
            return job.data["number"] ** 2

        async def parent(job, token):
            values = await job.getChildrenValues()
            return sum(value if isinstance(value, int) else value["sum"] for value in values.values())

        async def middle(job, token):
            return {"sum": await parent(job, token)}

        book, chapters, pages = (site.queue(name) for name in ("book", "chapters", "pages"))
        flows = site.flows()

        def page(number, **options):
            return {"name": "page", "queueName": "pages", "data": {"number": number}, "opts": options}

        def tree(*leaves):
            chapter = {"name": "chapter", "queueName": "chapters", "data": {}, "children": list(leaves),
                       "opts": {"failParentOnFailure": True}}
            return {"name": "book", "queueName": "book", "data": {}, "children": [chapter, page(100)]}

        whole = await flows.add(tree(*(page(number) for number in range(10))))
        assert await whole["job"].getState() == "waiting-children"
        torn = await flows.add(tree(page(1), page(-1, failParentOnFailure=True)))
        patched = await flows.add(tree(page(3), page(-1, ignoreDependencyOnFailure=True)))
        assert await pages.getJobCounts("waiting") == {"waiting": 17}
        site.worker(child, "pages", concurrency=3)
        site.worker(middle, "chapters"), site.worker(parent, "book")
        await counts(book, completed=2, failed=1)
        results = {name: await Job.fromId(book, flow["job"].id)
                   for name, flow in (("whole", whole), ("torn", torn), ("patched", patched))}
        assert results["whole"].returnvalue == 285 + 10_000 and results["patched"].returnvalue == 9 + 10_000
        assert results["torn"].returnvalue is None and "failed" in results["torn"].failedReason
        assert await torn["children"][0]["job"].getState() == "failed"
        await counts(pages, completed=15, failed=2)
        await counts(chapters, completed=2, failed=1)

    played(sharded, play)


def test_repetition_deduplication_and_limits(sharded):
    async def play(site):
        came, queue = [], site.queue()

        async def process(job, token):
            came.append((job.name, time.time() * 1000, job.processedOn))

        first = await queue.add("once", {"number": 1}, {"deduplication": {"id": "customer-1"}})
        again = await queue.add("once", {"number": 2}, {"deduplication": {"id": "customer-1"}})
        assert first.id == again.id and await queue.getDeduplicationJobId("customer-1") == first.id
        same = [await queue.add("named", {}, {"jobId": "own-name"}) for _ in range(3)]
        assert {job.id for job in same} == {"own-name"} and await queue.getWaitingCount() == 2
        await queue.upsertJobScheduler("tick", {"every": 150, "limit": 3}, "tick", {"from": "scheduler"})
        assert (await queue.getJobScheduler("tick"))["every"] == 150 and await queue.getJobSchedulersCount() == 1
        worker = site.worker(process)
        await until(lambda: ticks(came, 3))
        await asyncio.sleep(0.3)
        assert [name for name, *_ in came].count("tick") == 3, "its limit"
        assert sorted(name for name, *_ in came if name != "tick") == ["named", "once"]
        assert await queue.getDeduplicationJobId("customer-1") is None, "it ends with the job"
        await worker.close()

        limited, came[:] = site.queue("limited"), []
        await limited.setGlobalRateLimit(3, 300)
        await limited.setGlobalConcurrency(2)
        await limited.addBulk([{"name": "call", "data": {}} for _ in range(6)])
        [site.worker(process, "limited", concurrency=3, drainDelay=1) for _ in range(2)]
        await counts(limited, completed=6)
        # From before the first was asked for to after a fourth was given; a millisecond is what rounding makes of it.
        assert sorted(came_ms for _, came_ms, _ in came)[3] - min(asked_ms for *_, asked_ms in came) >= 299, came

    async def ticks(came, expected):
        return sum(name == "tick" for name, *_ in came) >= expected

    played(sharded, play)


def test_a_job_whose_worker_died_is_done_by_another(sharded):
    async def play(site):
        done, queue = [], site.queue()
        job = await queue.add("long", {})
        dead = Worker("orders", None, {**site.connection, "lockDuration": 600_000, "autorun": False})
        site.open(dead)
        taken = await dead.getNextJob("dead:1")
        assert taken.id == job.id and await queue.getJobState(job.id) == "active"
        lock = site.server.client()
        assert lock.get(f"bull:orders:{job.id}:lock") == "dead:1"
        # As if ten minutes had gone by.
        assert 0 < lock.pttl(f"bull:orders:{job.id}:lock") <= 600_000 and lock.pexpire(f"bull:orders:{job.id}:lock", 50)

        async def process(job, token):
            done.append(job.id)
            return "done"

        site.worker(process, stalledInterval=200)
        await counts(queue, completed=1, active=0)
        assert done == [job.id] and not lock.exists(f"bull:orders:{job.id}:lock")
        with pytest.raises(Exception, match="(?i)missing lock|not in the active state|lock"):
            await taken.moveToCompleted("late", "dead:1")
        assert (await Job.fromId(queue, job.id)).returnvalue == "done"

    played(sharded, play)


def test_a_queue_is_cleaned_drained_and_destroyed(sharded):
    async def play(site):
        queue = site.queue()

        async def process(job, token):
            if job.data["number"] % 2:
                raise ValueError("odd")

        worker = site.worker(process, removeOnFail={"count": 5})
        await queue.addBulk([{"name": "n", "data": {"number": number}} for number in range(40)])
        await counts(queue, completed=20, failed=5, waiting=0, active=0)
        await worker.close()
        assert len(await queue.clean(0, 8, "completed")) == 8
        await counts(queue, completed=12, failed=5)
        await queue.addBulk([{"name": "n", "data": {}, "opts": {"delay": 60_000 * (number % 2)}} for number in range(30)])
        assert await queue.getJobCounts("waiting", "delayed") == {"waiting": 15, "delayed": 15}
        await queue.drain()
        assert await queue.getJobCounts("waiting", "delayed") == {"waiting": 0, "delayed": 15}
        r = site.server.client()
        assert r.dbsize() > 30
        await queue.obliterate()
        left = set(r.keys("*"))
        assert left <= {"bull:orders:meta", "bull:orders:marker"}, left

    played(sharded, play)


def test_events_tell_what_happened(sharded):
    async def play(site):
        events, told = site.events(), []
        for name in ("added", "waiting", "active", "progress", "completed", "failed"):
            events.on(name, lambda payload, *_, name=name: told.append((name, payload)))
        queue = site.queue()

        async def process(job, token):
            await job.updateProgress({"percent": 10})
            if job.name == "bad":
                raise ValueError("why")
            return {"ok": [1, 2.5, None]}

        site.worker(process)
        good = await queue.add("good", {"text": "snö ☃"})
        bad = await queue.add("bad", {})

        async def all_told():
            return {name for name, _ in told} >= {"completed", "failed"}

        await until(all_told)
        by_job = {job.id: [name for name, payload in told if payload.get("jobId") == job.id] for job in (good, bad)}
        assert by_job == {good.id: ["added", "waiting", "active", "progress", "completed"],
                          bad.id: ["added", "waiting", "active", "progress", "failed"]}
        (completed,), (failed,) = ([payload for name, payload in told if name == kind] for kind in ("completed", "failed"))
        assert completed["returnvalue"] == {"ok": [1, 2.5, None]} and failed["failedReason"] == "why"
        stored = site.server.client().hget(f"bull:orders:{good.id}", "data")
        assert json.loads(stored) == {"text": "snö ☃"}

    played(sharded, play)
