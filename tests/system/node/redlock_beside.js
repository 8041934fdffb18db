// npm's redlock, version 4 or 5, beside other holders: each line on stdin, `acquire` or `release`, is answered by one:
// `held`, `not held`, `released`. redlock_beside.js VERSION NAME PORT …
"use strict";
const Redis = require("ioredis");
const readline = require("node:readline");

const [version, name, ...ports] = process.argv.slice(2);
const clients = ports.map((port) => new Redis({ host: "127.0.0.1", port: Number(port) }));
const settings = { driftFactor: 0.01, retryCount: 0 };
const ttl = 60000;

function newLibrary() {
  if (version === "4") return new (require("redlock4"))(clients, settings);
  const { default: Redlock } = require("redlock5");
  return new Redlock(clients, settings);
}

async function main() {
  const redlock = newLibrary();
  redlock.on(version === "4" ? "clientError" : "error", () => {});
  let lock = null;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === "release") {
      await (version === "4" ? lock.unlock() : lock.release());
      console.log("released");
      continue;
    }
    try {
      lock = version === "4" ? await redlock.lock(name, ttl) : await redlock.acquire([name], ttl);
      console.log("held");
    } catch (error) {
      if (!["LockError", "ExecutionError"].includes(error.name)) throw error;
      console.log("not held");
    }
  }
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
