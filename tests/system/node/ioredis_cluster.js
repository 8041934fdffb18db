// ioredis's Cluster against the cluster whose node is on 127.0.0.1:PORT. Ends with 0, or throws what was wrong.
"use strict";
const assert = require("node:assert/strict");
const Redis = require("ioredis");

const nodes = [{ host: "127.0.0.1", port: Number(process.argv[2]) }];

async function check(scaleReads) {
  const cluster = new Redis.Cluster(nodes, { scaleReads, clusterRetryStrategy: null });
  cluster.on("error", (error) => { throw error; });
  await new Promise((resolve) => cluster.once("ready", resolve));
  for (let i = 0; i < 100; i++) assert.equal(await cluster.set(`key:${i}`, i), "OK");
  for (let i = 0; i < 100; i++) {
    let value;
    do value = await cluster.get(`key:${i}`);
    while (value === null && scaleReads === "slave"); // a replica may be behind
    assert.equal(value, String(i));
  }
  const pipeline = cluster.pipeline();
  for (let i = 0; i < 100; i++) pipeline.incr("{tag}counter");
  assert.equal((await pipeline.exec()).at(-1)[1] % 100, 0);
  assert.deepEqual(await cluster.multi().set("{tag}a", 1).incr("{tag}a").exec(), [[null, "OK"], [null, 2]]);
  const flushed = cluster.nodes("master").map((node) => node.flushall());
  assert.ok(flushed.length >= 1);
  await Promise.all(flushed);
  assert.equal(await cluster.quit(), "OK");
}

async function main() {
  await check("master");
  await check("slave");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
