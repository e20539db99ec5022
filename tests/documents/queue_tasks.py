"""What the workers of the queues run; they note in the server what they did."""

import os
import time

import redis


def server():
    return redis.Redis.from_url(os.environ["SITE_URL"], decode_responses=True)


def note(name):
    server().rpush("noted", name)
    return name


def add(one, other):
    server().incr(f"added:{one}:{other}")
    return one + other


def fail(text):
    raise ValueError(text)


def fail_until(key, count):
    if server().incr(key) < count:
        raise ValueError("not yet")
    return "at last"


def sum_of_dependencies():
    from rq import get_current_job

    return sum(job.return_value() for job in get_current_job().fetch_dependencies())


def wait(seconds):
    server().rpush("noted", "begun")
    time.sleep(seconds)
    server().rpush("noted", "ended")
