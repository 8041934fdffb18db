// npm's redlock, version 5, as its README shows it, against the servers on 127.0.0.1:PORT …, one client for each. Ends
// with 0, or throws what was wrong.
"use strict";
const assert = require("node:assert/strict");
const Redis = require("ioredis");
const { default: Redlock, ResourceLockedError, ExecutionError } = require("redlock5");

const clients = process.argv.slice(2).map((port) => new Redis({ host: "127.0.0.1", port: Number(port) }));
const settings = { driftFactor: 0.01, retryCount: 10, retryDelay: 200, retryJitter: 200, automaticExtensionThreshold: 500 };
const redlock = new Redlock(clients, settings);
const impatient = new Redlock(clients, { ...settings, retryCount: 0 });
const ttl = 20000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function holders(...names) {
  const values = await Promise.all(clients.map((client) => client.mget(names)));
  return values.flat().filter((value) => value !== null).length;
}

async function routine() {
  const [sender, recipient] = ["sender", "recipient"];
  const value = await redlock.using([sender, recipient], ttl, async (signal) => {
    assert.equal(await holders(sender, recipient), 2 * clients.length);
    if (signal.aborted) throw signal.error;
    return "done";
  });
  assert.equal(value, "done");
  assert.equal(await holders(sender, recipient), 0);
}

// The lock is extended as long as the routine takes; on a machine that stands still for longer than it was granted for,
// the routine must be told, and nothing else.
async function automaticExtension() {
  let aborted = false;
  await redlock.using(["long"], 2000, async (signal) => {
    const began = Date.now();
    while (Date.now() - began < 2500) await pause(50);
    aborted = signal.aborted;
    if (!aborted) assert.equal(await holders("long"), clients.length);
  }).catch((error) => { if (!aborted) throw error; });
}

// Most servers have answered when redlock has; those that do not know its script yet are told it then.
async function soon(condition) {
  for (let turn = 0; turn < 200; turn++) {
    if (await condition()) return true;
    await pause(5);
  }
  return false;
}

async function acquireAndRelease() {
  let lock = await redlock.acquire(["a"], ttl);
  try {
    await assert.rejects(impatient.acquire(["a"], ttl), ExecutionError);
    lock = await lock.extend(2 * ttl);
    for (const client of clients) assert.ok(await soon(async () => (await client.pttl("a")) > ttl));
  } finally {
    await lock.release();
  }
  assert.ok(await soon(async () => (await holders("a")) === 0));
  await assert.rejects(lock.release(), ExecutionError);
}

async function threeAtOnce() {
  const lock = await redlock.acquire(["a", "b", "c"], ttl);
  assert.equal(await holders("a", "b", "c"), 3 * clients.length);
  await assert.rejects(impatient.acquire(["c", "d"], ttl), ExecutionError);
  assert.equal(await holders("d"), 0);
  await (await lock.extend(ttl)).release();
  assert.equal(await holders("a", "b", "c"), 0);
}

async function oneAfterTheOther() {
  const patient = new Redlock(clients, { ...settings, retryCount: -1, retryDelay: 10, retryJitter: 10 });
  let inside = 0, done = 0;
  await Promise.all(Array.from({ length: 10 }, () => patient.using(["turns"], ttl, async () => {
    assert.equal(++inside, 1);
    await pause(2);
    inside--;
    done++;
  })));
  assert.equal(done, 10);
}

async function main() {
  redlock.on("error", (error) => { if (!(error instanceof ResourceLockedError)) throw error; });
  for (const client of clients) await client.script("FLUSH"); // its first call of each script must find the way
  for (const step of [routine, acquireAndRelease, threeAtOnce, oneAfterTheOther, automaticExtension]) await step();
  await redlock.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
