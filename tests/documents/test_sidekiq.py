"""Sidekiq by its own package, Debian's: jobs at once, jobs for later, which its own script takes by their time, retries
that are scheduled likewise, a job that is dead, and the counts its page shows."""

import subprocess

from conftest import PATIENCE_S, eventually

JOBS = """
require "sidekiq"

class Note
  include Sidekiq::Worker
  sidekiq_retry_in { |_| 1 }

  def perform(word)
    Sidekiq.redis { |redis| redis.rpush("done", word) }
  end
end

class Fragile
  include Sidekiq::Worker
  sidekiq_options retry: 2
  sidekiq_retry_in { |_| 1 }

  def perform(key, failures)
    tries = Sidekiq.redis { |redis| redis.incr(key) }
    raise "not yet" if tries <= failures
    Sidekiq.redis { |redis| redis.rpush("done", key) }
  end
end
"""

SETTINGS = """
:concurrency: 4
:average_scheduled_poll_interval: 1
:poll_interval_average: 1
"""


class Site:
    def __init__(self, server, tmp_path, work):
        self.server, self.directory = server, tmp_path
        (tmp_path / "jobs.rb").write_text(JOBS)
        (tmp_path / "sidekiq.yml").write_text(SETTINGS)
        self.work = work

    def worker(self):
        return self.work("-C", "sidekiq.yml", "-r", "./jobs.rb", by="sidekiq", REDIS_URL=self.server.url)

    def ruby(self, text):
        """What a client program prints."""
        command = ["ruby", "-I", str(self.directory), "-r", "jobs", "-r", "sidekiq/api", "-e", text]
        environment = {"REDIS_URL": self.server.url, "PATH": "/usr/bin:/bin", "HOME": str(self.directory)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def done(self):
        return sorted(self.server.client().lrange("done", 0, -1))


def test_jobs_run_now_and_later_and_again(sharded, tmp_path, work):
    site = Site(sharded, tmp_path, work)
    site.ruby("""
        20.times { |number| Note.perform_async("now#{number}") }
        Sidekiq::Client.push_bulk("class" => Note, "args" => (0...20).map { |number| ["bulk#{number}"] })
        10.times { |number| Note.perform_in(1 + number * 0.1, "later#{number}") }
        Note.perform_in(3600, "tomorrow")
        Fragile.perform_async("fragile", 1)
        Fragile.perform_async("broken", 100)
    """)
    assert site.ruby("puts Sidekiq::Stats.new.enqueued, Sidekiq::Stats.new.scheduled_size").split() == ["42", "11"]
    site.worker()
    words = [f"{kind}{number}" for kind, count in [("now", 20), ("bulk", 20), ("later", 10)] for number in range(count)]
    eventually(lambda: set(site.done()) >= {*words, "fragile"})
    assert site.done() == sorted([*words, "fragile"])
    eventually(lambda: site.ruby("puts Sidekiq::DeadSet.new.size") == "1")
    dead = site.ruby("puts Sidekiq::DeadSet.new.first.item['class'], Sidekiq::DeadSet.new.first.item['error_message']")
    assert dead.split("\n") == ["Fragile", "not yet"]
    counts = "stats = Sidekiq::Stats.new; puts stats.enqueued, stats.scheduled_size, stats.retry_size, stats.processes_size"
    assert site.ruby(counts).split() == ["0", "1", "0", "1"]
    # Who brings the one for tomorrow forward.
    site.ruby("Sidekiq::ScheduledSet.new.each(&:add_to_queue)")
    eventually(lambda: "tomorrow" in site.done())
