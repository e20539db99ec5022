"""pytest plugin: what of redis-py's tests counts as skipped against a server that has no lists, scripts and so on yet.

A test is skipped when skip.txt names it, or when it fails because the server says that it does not know a command of
Redis 7.0 (tests/facts). A failure for any other reason stays a failure. What the server serves is told by its table of
commands, which other tests hold: this list never hides a command that was there.
"""
import os
import pathlib
import re

import pytest

HERE = pathlib.Path(__file__).parent
UNKNOWN = re.compile(r"unknown (?:sub)?command [`']([^`',]*)", re.IGNORECASE)


def rows(name):
    for line in (HERE / name).read_text().splitlines():
        if line and not line.startswith("#"):
            reason, _, rest = line.partition(" | ")
            yield reason.strip(), rest.strip()


FACTS = HERE.parent / "facts" / "redis-7.0-commands.tsv"
# Of a subcommand the error says its own name alone.
LACKING = {line.split("\t")[0].split("|")[-1].upper() for line in FACTS.read_text().splitlines() if line}
SKIPPED = {name: reason for reason, name in rows("skip.txt")}


def pytest_collection_modifyitems(items):
    for item in items:
        name = item.nodeid.split("::", 1)[1]
        reason = SKIPPED.get(name) or SKIPPED.get(name.split("[")[0])
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
    texts.append(report.capstderr if hasattr(report, "capstderr") else "")
    for command in UNKNOWN.findall("\n".join(texts)):
        if command.upper() in LACKING:
            report.outcome = "skipped"
            report.longrepr = (os.fspath(item.path), 0, f"Skipped: needs {command.upper()}")
            return
