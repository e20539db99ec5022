"""Celery by its own package, with workers in processes of their own: results, groups, chords, chains, retries, times,
priorities, what an operator asks of workers, and a worker that dies over a task."""

import gc
import time
from datetime import datetime, timezone

import celery_site
import pytest
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from conftest import PATIENCE_S, eventually


class Site:
    """The tasks of one test on one server, and its workers."""

    def __init__(self, server, work):
        self.server, self.work, self.r = server, work, server.client()
        self.app = celery_site.make(server.url)
        self.tasks = self.app.tasks

    def worker(self, *words, **environment):
        command = ["-m", "celery", "-A", "celery_site:app", "worker", "--loglevel", "warning", *words]
        return self.work(*command, SITE_URL=self.server.url, **environment)

    def close(self):
        gc.collect()  # A result tells the server when nobody wants it any more: while there is one.
        self.app.backend.result_consumer.stop()
        self.app.close()


@pytest.fixture
def site(sharded, work):
    site = Site(sharded, work)
    yield site
    site.close()


def test_results_groups_chords_retries_and_times(site):
    add, total, note = (site.tasks[name] for name in ("add", "total", "note"))
    results = [add.delay(number, 1) for number in range(50)]
    site.worker("--pool", "threads", "--concurrency", "4", "--hostname", "w@here")
    assert [result.get(timeout=PATIENCE_S) for result in results] == [number + 1 for number in range(50)]
    assert site.r.mget([f"added:{number}:1" for number in range(50)]) == ["1"] * 50, "each once"
    assert 0 < site.r.ttl(f"celery-task-meta-{results[0].id}") <= 600
    # What waits for other tasks.
    assert group(add.s(number, number) for number in range(10))().get(timeout=PATIENCE_S) == list(range(0, 20, 2))
    assert chord((add.s(number, number) for number in range(20)), total.s())().get(timeout=PATIENCE_S) == 380
    assert chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=PATIENCE_S) == 10
    nested = chain(group(add.s(number, 1) for number in range(3)), total.s(), add.s(100))
    assert nested().get(timeout=PATIENCE_S) == 106
    with pytest.raises(ValueError, match="^why$"):
        site.tasks["fail"].delay("why").get(timeout=PATIENCE_S)
    broken = chord([add.s(2, 2), site.tasks["fail"].s("in the header")], total.s())()
    with pytest.raises(Exception, match="in the header"):
        broken.get(timeout=PATIENCE_S)
    retried = site.tasks["fail_until"].delay("tries", 3)
    assert retried.get(timeout=PATIENCE_S) == "at last" and site.r.get("tries") == "3"
    # A time to come, and one that is over.
    begin = time.time()
    late = note.apply_async(("late",), countdown=1)
    over = note.apply_async(("over",), expires=datetime.fromtimestamp(begin - 5, timezone.utc))
    assert late.get(timeout=PATIENCE_S) == "late" and 1 <= float(site.r.lindex("times", 0)) - begin
    with pytest.raises(TaskRevokedError):
        over.get(timeout=PATIENCE_S)
    assert site.r.lrange("noted", 0, -1) == ["late"]
    late.forget()
    assert not site.r.exists(f"celery-task-meta-{late.id}")


def test_priorities_and_what_an_operator_asks(site):
    note = site.tasks["note"]
    order = [9, 0, 6, 3, 9, 0, 6, 3]
    results = [note.apply_async((f"{priority}",), priority=priority) for priority in order]
    assert site.r.llen("celery") == 2, "each of the four steps is a list of its own"
    site.worker("--pool", "solo", "--hostname", "w@here")
    [result.get(timeout=PATIENCE_S) for result in results]
    noted = site.r.lrange("noted", 0, -1)
    # While it starts a worker may take one from the lists before it has seen all of them.
    assert noted == ["0", "0", "3", "3", "6", "6", "9", "9"]
    control, here = site.app.control, {"destination": ["w@here"], "timeout": PATIENCE_S}
    assert control.ping(**here) == [{"w@here": {"ok": "pong"}}]
    assert set(control.inspect(**here).registered()["w@here"]) >= {"add", "note", "total"}
    revoked = note.apply_async(("revoked",), countdown=4)  # Time enough to tell the worker.
    revoked.revoke()
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=PATIENCE_S)
    assert note.delay("after").get(timeout=PATIENCE_S) == "after"
    control.cancel_consumer("celery", reply=True, **here)
    waiting = note.delay("waiting")
    time.sleep(0.3)
    assert not waiting.ready() and site.r.llen("celery") == 1
    assert control.purge() == 1 and site.r.llen("celery") == 0


def test_a_task_whose_worker_died_is_done_by_another(site):
    result = site.tasks["die_once"].delay()
    assert site.worker("--pool", "solo", SITE_VISIBILITY_S="4").wait(PATIENCE_S) == -9
    assert site.r.hlen("unacked") == 1 and site.r.zcard("unacked_index") == 1 and result.state == "STARTED"
    site.worker("--pool", "solo", SITE_VISIBILITY_S="4")
    assert result.get(timeout=PATIENCE_S) == "survived" and site.r.get("deaths") == "2"
    eventually(lambda: not site.r.exists("unacked") and not site.r.exists("unacked_index"))
