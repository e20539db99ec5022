"""pytest plugin: what of redis-py's tests counts as skipped against a server that has not every command yet.

A test is skipped when skip.txt names it, or when it fails because the server says that it does not know a command which
the README's table of commands does not have either. A failure for any other reason stays a failure. The table is made
from the server's own and held by a test, so that this never hides a command that was there.

redis-py runs a test for what came after Redis 7.0 only where the server calls itself newer. Many of those commands are
here, under a version of 7.0, so redis-py is told the newest: what is missing of them says so itself. Likewise it caches
for clients from 7.4 on, by tracking, which is older.
"""
import os
import pathlib
import re

import pytest
import redis.connection

HERE = pathlib.Path(__file__).parent
VERSION = "8.10.0"
# What the server says, and what redis-py says when `COMMAND` does not list one.
UNKNOWN = re.compile(r"unknown (sub)?command [`']([^`',]*)|^()([A-Z.]+) command doesn't exist", re.I | re.M)


def served():
    """The words of the README's table that are served: commands, and subcommands (which errors name alone)."""
    commands, subcommands = set(), set()
    for line in (HERE.parent.parent / "README.md").read_text().splitlines():
        cells = line.split("|")
        if len(cells) != 5 or not re.fullmatch(r"(?: `[A-Z0-9_-]+`.*)? ", cells[2]) or "`" not in cells[2] + cells[3]:
            continue
        for inner in re.findall(r"\(([^)]*)\)", cells[2]):
            subcommands.update(re.findall(r"`([A-Z0-9_-]+)`", inner))
        commands.update(re.findall(r"`([A-Z0-9_-]+)`", re.sub(r"\([^)]*\)", "", cells[2])))
    assert {"GET", "CLIENT", "HSET"} <= commands and "SETNAME" in subcommands, "the README's table has changed its form"
    return commands, subcommands


def rows(name):
    for line in (HERE / name).read_text().splitlines():
        if line and not line.startswith("#"):
            reason, _, rest = line.partition(" | ")
            yield reason.strip(), rest.strip()


COMMANDS, SUBCOMMANDS = served()
SKIPPED = {name: reason for reason, name in rows("skip.txt")}


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    session.config.REDIS_INFO["version"] = VERSION
    redis.connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"


def pytest_collection_modifyitems(items):
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        short = name.split("::", 1)[1]
        forms = (name, name.split("[")[0], short, short.split("[")[0], short.split("::")[0])
        reason = next(filter(None, map(SKIPPED.get, forms)), None)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed or call.excinfo is None:
        return
    # The error itself, what caused it, and what a thread or an assertion quotes of it.
    texts, error = [], call.excinfo.value
    while error is not None and len(texts) < 10:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    texts.append(getattr(report, "capstderr", ""))
    for found in UNKNOWN.finditer("\n".join(texts)):
        sub, command = found[1], found[2] or found[4]
        if command.upper() not in (SUBCOMMANDS if sub else COMMANDS):
            report.outcome = "skipped"
            report.longrepr = (os.fspath(item.path), 0, f"Skipped: needs {command.upper()}")
            return
