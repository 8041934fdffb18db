// npm's redlock, version 4, as its README shows it, against the servers on 127.0.0.1:PORT …, one client for each. Ends
// with 0, or throws what was wrong.
"use strict";
const assert = require("node:assert/strict");
const Redis = require("ioredis");
const Redlock = require("redlock4");
const { using } = require("bluebird");

const clients = process.argv.slice(2).map((port) => new Redis({ host: "127.0.0.1", port: Number(port) }));
const redlock = new Redlock(clients, { driftFactor: 0.01, retryCount: 10, retryDelay: 200, retryJitter: 200 });
const impatient = new Redlock(clients, { retryCount: 0 });
const resource = "locks:account:322456";
const ttl = 20000;

function unlockErrorHandler(error) {
  throw error;
}

async function holders(...names) {
  const values = await Promise.all(clients.map((client) => client.mget(names)));
  return values.flat().filter((value) => value !== null).length;
}

async function lockAndUnlock() {
  const lock = await redlock.lock(resource, ttl);
  assert.equal(await holders(resource), clients.length);
  await assert.rejects(impatient.lock(resource, ttl), { name: "LockError" });
  await lock.unlock();
  assert.equal(await holders(resource), 0);
  await assert.rejects(lock.unlock(), { name: "LockError" });
}

async function extend() {
  let lock = await redlock.lock(resource, 2000);
  const until = lock.expiration;
  lock = await lock.extend(ttl);
  assert.ok(lock.expiration > until);
  for (const client of clients) assert.ok((await client.pttl(resource)) > 2000);
  await lock.unlock();
  await assert.rejects(lock.extend(ttl), { name: "LockError" });
}

async function disposer() {
  await using(redlock.disposer(resource, ttl, unlockErrorHandler), async (lock) => {
    assert.equal(await lock.extend(ttl), lock);
    assert.equal(await holders(resource), clients.length);
  });
  assert.equal(await holders(resource), 0);
}

function callbacks() {
  return new Promise((resolve, reject) => {
    redlock.lock(resource, ttl, (error, lock) => {
      if (error) return reject(error);
      lock.extend(ttl, (failed) => {
        if (failed) return reject(failed);
        lock.unlock((problem) => (problem ? reject(problem) : resolve()));
      });
    });
  });
}

async function threeAtOnce() {
  const names = ["locks:account:322456", "locks:account:322457", "locks:account:322458"];
  const lock = await redlock.lock(names, ttl);
  assert.equal(await holders(...names), 3 * clients.length);
  await assert.rejects(impatient.lock([names[2], "locks:account:1"], ttl), { name: "LockError" });
  assert.equal(await holders("locks:account:1"), 0);
  await (await lock.extend(ttl)).unlock();
  assert.equal(await holders(...names), 0);
}

async function oneAfterTheOther() {
  const patient = new Redlock(clients, { retryCount: -1, retryDelay: 10, retryJitter: 10 });
  let inside = 0, done = 0;
  async function work() {
    const lock = await patient.lock(resource, ttl);
    assert.equal(++inside, 1);
    await new Promise((resolve) => setTimeout(resolve, 2));
    inside--;
    done++;
    await lock.unlock();
  }
  await Promise.all(Array.from({ length: 10 }, work));
  assert.equal(done, 10);
}

async function main() {
  redlock.on("clientError", (error) => { throw error; });
  for (const step of [lockAndUnlock, extend, disposer, callbacks, threeAtOnce, oneAfterTheOther]) await step();
  await redlock.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
