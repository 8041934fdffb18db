// A holder of locks of npm's redlock, version 4 or 5, as it is (../holders.py tells what holders do):
//
//     redlock_holder.js VERSION SPECIFICATION.json NUMBER
//
// The servers that the specification names are asked all, or this holder's alone ("together": false). It tries each lock once,
// so that it knows from when on it may believe to hold it: for its time to live, less the drift that redlock allows for. An
// extension that fails leaves the lock as it is with version 5; version 4 releases it then, at whatever server (a redis-server
// that is stopped for longer than commandTimeout shows it), so its holder believes nothing more from when it asked.
"use strict";
const fs = require("node:fs");
const Redis = require("ioredis");

const [version, path, number] = process.argv.slice(2);
const specification = JSON.parse(fs.readFileSync(path, "utf8"));
const { nodes, ttl_ms: ttl, folder } = specification;
const addresses = specification.together ? nodes : [nodes[Number(number) % nodes.length]];
const clients = addresses.map(([host, port]) => new Redis({
  host, port, commandTimeout: 400, connectTimeout: 400, maxRetriesPerRequest: 0, retryStrategy: () => 50,
}));
const settings = { driftFactor: 0.01, retryCount: 0 };
const out = fs.openSync(`${folder}/holder${number}.jsonl`, "a");
const now = () => process.hrtime.bigint();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const chance = (times) => Math.floor(Math.random() * times) === 0;
const believed = (asked) => asked + BigInt(Math.floor(ttl * 0.99 - 2)) * 1000000n;
const stopped = () => fs.existsSync(`${folder}/stop`);

function redlock() {
  if (version === "4") {
    const Redlock = require("redlock4");
    const lock = new Redlock(clients, settings);
    lock.on("clientError", () => {});
    return { acquire: (name) => lock.lock(name, ttl), extend: (held) => held.extend(ttl), release: (held) => held.unlock() };
  }
  const { default: Redlock } = require("redlock5");
  const lock = new Redlock(clients, settings);
  lock.on("error", () => {});
  return { acquire: (name) => lock.acquire([name], ttl), extend: (held) => held.extend(ttl), release: (held) => held.release() };
}

function note(name, start, end, until) {
  const times = `"start": ${start}, "end": ${end}, "until": ${until}`; // no number of JavaScript holds them
  fs.writeSync(out, `{"process": ${number}, "op": "hold", "key": "${name}", "outcome": "ok", ${times}}\n`);
}

function isStoppedSometimes() {
  if (chance(12)) process.kill(process.pid, "SIGSTOP"); // whoever watches lets it go on
}

async function round(locks) {
  const name = `lock:${Math.floor(Math.random() * 2)}`;
  const start = now();
  let held = await locks.acquire(name).catch(() => null);
  const end = now();
  if (held === null) return pause(Math.random() * 40);
  let until = believed(start);
  while (now() < until && !chance(4)) {
    isStoppedSometimes();
    const asked = now();
    const longer = await locks.extend(held).catch(() => null);
    if (longer === null && version === "4" && asked < until) until = asked;
    if (longer === null) break;
    held = longer;
    until = believed(asked);
  }
  await pause(Math.random() * 10);
  if (!chance(6)) {
    const released = now();
    until = released < until ? released : until;
    await locks.release(held).catch(() => null);
  }
  note(name, start, end, until);
}

async function main() {
  for (const client of clients) client.on("error", () => {});
  const locks = redlock();
  while (!stopped()) await round(locks);
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
