"""A site that does its work with Celery, broker and results in one server."""

import os
import time

import queue_tasks
from celery import Celery


def make(url, visibility_s=3600):
    app = Celery("site", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        # What a worker has not finished after so many seconds is another's; it is looked for each second.
        broker_transport_options={"visibility_timeout": visibility_s, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
                                  "queue_order_strategy": "priority"},
        # Results that are forgotten after the server has ended shall not wait for it.
        result_backend_transport_options={"retry_policy": {"max_retries": 2}},
        result_expires=600, task_track_started=True, worker_prefetch_multiplier=1, worker_hijack_root_logger=False,
    )

    @app.task(shared=False, name="add")
    def add(one, other):
        return queue_tasks.add(one, other)

    @app.task(shared=False, name="total")
    def total(numbers):
        return sum(numbers)

    @app.task(shared=False, name="fail")
    def fail(text):
        raise ValueError(text)

    @app.task(shared=False, name="fail_until", bind=True, max_retries=5)
    def fail_until(self, key, count):
        try:
            return queue_tasks.fail_until(key, count)
        except ValueError as error:
            raise self.retry(exc=error, countdown=0.1)

    @app.task(shared=False, name="note")
    def note(name):
        queue_tasks.server().rpush("times", time.time())
        return queue_tasks.note(name)

    @app.task(shared=False, name="die_once", acks_late=True)
    def die_once():
        if queue_tasks.server().incr("deaths") == 1:
            os.kill(os.getpid(), 9)
        return "survived"

    return app


VISIBILITY_S = int(os.environ.get("SITE_VISIBILITY_S", "3600"))
app = make(os.environ["SITE_URL"], VISIBILITY_S) if "SITE_URL" in os.environ else None
