"""RQ by its own package: workers in processes of their own, queues in order, failures and retries, dependencies, times,
groups, unique jobs, and jobs that are stopped."""

import time
from datetime import datetime, timedelta, timezone

import pytest
import queue_tasks
from conftest import PATIENCE_S, eventually
from rq import Queue, Repeat, Retry
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError
from rq.group import Group
from rq.job import Dependency, Job, JobStatus
from rq.scripts import acquire_or_refresh_lock, release_lock
from rq.worker import Worker


class Site:
    """The queues of one test on one server, and its workers."""

    def __init__(self, server, work):
        self.connection, self.url, self.work = server.client(decode_responses=False), server.url, work
        self.r = server.client()
        self.queue = Queue("default", connection=self.connection)

    def worker(self, *words):
        command = ["-m", "rq.cli", "worker", "--url", self.url, "--quiet", *words]
        return self.work(*command, SITE_URL=self.url)

    def burst(self, *words):
        """Works until the queues are empty."""
        assert self.worker("--burst", *words).wait(PATIENCE_S) == 0

    def status(self, job):
        return Job.fetch(job.id, connection=self.connection).get_status()


@pytest.fixture
def site(sharded, work):
    return Site(sharded, work)


def test_jobs_are_done_once_and_urgent_ones_first(site):
    urgent = Queue("urgent", connection=site.connection)
    jobs = [site.queue.enqueue(queue_tasks.note, f"later {number}") for number in range(5)]
    jobs += urgent.enqueue_many([Queue.prepare_data(queue_tasks.note, (f"urgent {number}",)) for number in range(5)])
    front = site.queue.enqueue(queue_tasks.note, "front", at_front=True)
    site.burst("urgent", "default")
    expected = [f"urgent {number}" for number in range(5)] + ["front"] + [f"later {number}" for number in range(5)]
    assert site.r.lrange("noted", 0, -1) == expected
    assert front.return_value() == "front" and {site.status(job) for job in jobs} == {JobStatus.FINISHED}
    assert sorted(site.queue.finished_job_registry.get_job_ids()) == sorted(job.id for job in [front, *jobs[:5]])

    jobs = [site.queue.enqueue(queue_tasks.add, number, 1) for number in range(60)]
    workers = [site.worker("--burst", "-w", "rq.worker.SimpleWorker", "default") for _ in range(2)]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0]
    assert [job.return_value() for job in jobs] == [number + 1 for number in range(60)]
    assert site.r.mget([f"added:{number}:1" for number in range(60)]) == ["1"] * 60, "each once"
    assert site.queue.count == 0 and site.queue.started_job_registry.count == 0 and Worker.count(site.connection) == 0


def test_what_fails_is_kept_tried_again_or_let_through(site):
    bad = site.queue.enqueue(queue_tasks.fail, "why")
    again = site.queue.enqueue(queue_tasks.fail_until, "tries", 3, retry=Retry(max=3))
    after_bad = site.queue.enqueue(queue_tasks.note, "never", depends_on=bad)
    in_spite = site.queue.enqueue(queue_tasks.note, "in spite", depends_on=Dependency(jobs=[bad], allow_failure=True))
    assert {site.status(after_bad), site.status(in_spite)} == {JobStatus.DEFERRED}
    site.burst("-w", "rq.worker.SimpleWorker", "default")
    assert site.status(bad) == JobStatus.FAILED and "ValueError: why" in bad.latest_result().exc_string
    assert again.return_value() == "at last" and site.r.get("tries") == "3"
    assert site.r.lrange("noted", 0, -1) == ["in spite"] and site.status(after_bad) == JobStatus.DEFERRED
    assert site.queue.failed_job_registry.get_job_ids() == [bad.id]
    site.queue.failed_job_registry.requeue(bad.id)
    assert site.queue.job_ids == [bad.id] and site.queue.failed_job_registry.count == 0
    assert site.queue.empty() == 1 and site.queue.count == 0 and not Job.exists(bad.id, site.connection)


def test_jobs_that_depend_on_others(site):
    other = Queue("other", connection=site.connection)
    leaves = [(other if number % 2 else site.queue).enqueue(queue_tasks.add, number, number) for number in range(10)]
    root = site.queue.enqueue(queue_tasks.sum_of_dependencies, depends_on=leaves)
    last = other.enqueue(queue_tasks.note, "last", depends_on=root)
    canceled = site.queue.enqueue(queue_tasks.note, "canceled", depends_on=root)
    canceled.cancel()
    assert set(site.queue.deferred_job_registry.get_job_ids()) == {root.id}
    workers = [site.worker("--burst", "-w", "rq.worker.SimpleWorker", *names)
               for names in (("default", "other"), ("other", "default"))]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0]
    if site.queue.count + other.count:  # Both had looked before the last was let go.
        site.burst("-w", "rq.worker.SimpleWorker", "default", "other")
    assert root.return_value() == 90 and site.r.lrange("noted", 0, -1) == ["last"]
    assert site.status(last) == JobStatus.FINISHED and site.status(canceled) == JobStatus.CANCELED
    assert site.queue.deferred_job_registry.count == 0
    group = Group.create(connection=site.connection, name="whole")
    group.enqueue_many(site.queue, [Queue.prepare_data(queue_tasks.note, (f"of group {number}",)) for number in range(3)])
    site.burst("-w", "rq.worker.SimpleWorker", "default")
    assert {job.return_value() for job in group.get_jobs()} == {f"of group {number}" for number in range(3)}


def test_jobs_that_have_their_time(site):
    soon = site.queue.enqueue_in(timedelta(seconds=1), queue_tasks.note, "soon")
    far = site.queue.enqueue_at(datetime.now(timezone.utc) + timedelta(hours=1), queue_tasks.note, "far")
    past = site.queue.enqueue_at(datetime.now(timezone.utc) - timedelta(seconds=5), queue_tasks.note, "past")
    repeated = site.queue.enqueue(queue_tasks.note, "repeated", repeat=Repeat(times=2, interval=1))
    assert set(site.queue.scheduled_job_registry.get_job_ids()) == {soon.id, far.id, past.id}
    worker = site.worker("--with-scheduler", "-w", "rq.worker.SimpleWorker", "default")
    eventually(lambda: site.r.llen("noted") >= 5)
    noted = site.r.lrange("noted", 0, -1)
    assert sorted(noted) == ["past", "repeated", "repeated", "repeated", "soon"]
    assert eventually(lambda: site.status(repeated) == JobStatus.FINISHED)
    assert site.queue.scheduled_job_registry.get_job_ids() == [far.id]
    assert site.r.exists("rq:scheduler-lock:default") == 1
    worker.terminate()
    assert worker.wait(PATIENCE_S) == 0 and site.r.exists("rq:scheduler-lock:default") == 0


def test_unique_jobs_locks_and_jobs_that_are_stopped(site):
    site.queue.enqueue(queue_tasks.note, "one", job_id="own", unique=True)
    with pytest.raises(DuplicateJobError):
        site.queue.enqueue(queue_tasks.note, "two", job_id="own", unique=True)
    at = datetime.now(timezone.utc) + timedelta(hours=1)
    site.queue.enqueue_at(at, queue_tasks.note, "later", job_id="later", unique=True)
    with pytest.raises(DuplicateJobError):
        site.queue.enqueue_at(at, queue_tasks.note, "later", job_id="later", unique=True)
    assert site.queue.job_ids == ["own"] and site.queue.scheduled_job_registry.get_job_ids() == ["later"]
    lock = lambda owner: acquire_or_refresh_lock(site.connection, "lock", owner, 30)
    assert [lock(owner) for owner in "aba"] == ["acquired", "taken", "refreshed"]
    assert [release_lock(site.connection, "lock", owner) for owner in "baa"] == [False, True, False]

    site.queue.empty()
    job = site.queue.enqueue(queue_tasks.wait, 1000)
    after = site.queue.enqueue(queue_tasks.note, "after")
    begin = time.monotonic()
    site.worker("default")
    eventually(lambda: site.r.lrange("noted", 0, -1) == ["begun"])
    send_stop_job_command(site.connection, job.id)
    eventually(lambda: site.status(after) == JobStatus.FINISHED)
    assert site.status(job) == JobStatus.STOPPED and time.monotonic() - begin < 900
    assert site.r.lrange("noted", 0, -1) == ["begun", "after"]
