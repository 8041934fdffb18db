// ioredis against the server on 127.0.0.1:PORT. Ends with 0, or throws what was wrong.
"use strict";
const assert = require("node:assert/strict");
const Redis = require("ioredis");

const port = Number(process.argv[2]);
const options = { host: "127.0.0.1", port, connectionName: "node-tester", retryStrategy: null };

async function strings(redis) {
  assert.equal(await redis.set("greeting", "hello"), "OK");
  assert.equal(await redis.get("greeting"), "hello");
  assert.equal(await redis.get("nothing"), null);
  assert.equal(await redis.set("greeting", "x", "NX"), null);
  assert.equal(await redis.set("timed", "x", "PX", 60000), "OK");
  assert.ok((await redis.pttl("timed")) > 50000);
  const binary = Buffer.from([0, 255, 13, 10, 1]);
  await redis.set("binary", binary);
  assert.deepEqual(await redis.getBuffer("binary"), binary);
  await assert.rejects(redis.incr("greeting"), { message: "ERR value is not an integer or out of range" });
}

async function hashes(redis) {
  assert.equal(await redis.hset("user", { name: "Ada", born: 1815 }), 2);
  assert.deepEqual(await redis.hgetall("user"), { name: "Ada", born: "1815" });
  assert.deepEqual(await redis.hmget("user", "born", "none"), ["1815", null]);
}

async function pipelines(redis) {
  const pipeline = redis.pipeline();
  for (let i = 0; i < 1000; i++) pipeline.incr("counter");
  const replies = await pipeline.exec();
  assert.deepEqual(replies, Array.from({ length: 1000 }, (_, i) => [null, i + 1]));
}

async function transactions(redis) {
  assert.deepEqual(await redis.multi().set("a", 1).incr("a").get("a").exec(), [
    [null, "OK"],
    [null, 2],
    [null, "2"],
  ]);
  await redis.watch("a");
  const other = redis.duplicate();
  await other.set("a", 10);
  other.disconnect();
  assert.equal(await redis.multi().incr("a").exec(), null);
  assert.equal(await redis.get("a"), "10");
}

async function scans(redis) {
  await redis.mset(Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [`scan:${i}`, i])));
  const seen = new Set();
  for await (const keys of redis.scanStream({ match: "scan:*", count: 100 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 1500);
}

async function automaticPipelines() {
  const redis = new Redis({ ...options, enableAutoPipelining: true });
  const numbers = await Promise.all(Array.from({ length: 500 }, () => redis.incr("auto")));
  assert.deepEqual(numbers, Array.from({ length: 500 }, (_, i) => i + 1));
  await redis.quit();
}

async function main() {
  const redis = new Redis(options);
  redis.on("error", (error) => { throw error; });
  await new Promise((resolve) => redis.once("ready", resolve));
  assert.equal(await redis.client("GETNAME"), "node-tester");
  await strings(redis);
  await hashes(redis);
  await pipelines(redis);
  await transactions(redis);
  await scans(redis);
  await automaticPipelines();
  assert.equal(await redis.quit(), "OK");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
