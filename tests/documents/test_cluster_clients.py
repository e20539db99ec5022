"""A cluster client of another language reaches the owner of every key by itself: node-redis, Debian's. (ioredis is only
in npm's registry.)"""

import json
import subprocess

import pytest
from conftest import IS_REDIS, PATIENCE_S, free_ports

PROGRAM = """
const { createCluster } = require("redis");
(async () => {
  const cluster = createCluster({ rootNodes: [{ url: process.argv[2] }] });
  cluster.on("error", (error) => { throw error; });
  await cluster.connect();
  const numbers = [...Array(500).keys()];
  await Promise.all(numbers.map((number) => cluster.set("key:" + number, "value " + number)));
  const values = await Promise.all(numbers.map((number) => cluster.get("key:" + number)));
  const transaction = await cluster.multi().set("{tag}a", "1").incr("{tag}a").get("{tag}a").exec();
  const script = await cluster.eval("return redis.call('GET', KEYS[1])", { keys: ["key:7"], arguments: [] });
  console.log(JSON.stringify({ values, transaction, script }));
  await cluster.disconnect();
})().catch((error) => { console.error(error); process.exit(1); });
"""


@pytest.mark.skipif(IS_REDIS, reason="core-ports is ours")
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_node_redis_sends_each_command_to_its_core(start, tmp_path, shards):
    port, first = free_ports(1, shards)
    server = start(f"shards {shards}\ncore-ports {first}\n", port)
    (tmp_path / "cluster.js").write_text(PROGRAM)
    for seed in [port, first]:
        command = ["node", str(tmp_path / "cluster.js"), f"redis://127.0.0.1:{seed}"]
        environment = {"NODE_PATH": "/usr/share/nodejs", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["values"] == [f"value {number}" for number in range(500)]
        assert told["transaction"] == ["OK", 2, "2"] and told["script"] == "value 7"
        info = server.client().info("corering")
        assert (info["commands_forwarded"], info["commands_visiting"]) == (0, 0)
