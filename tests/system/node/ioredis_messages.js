// Subscribers of ioredis: channels, patterns, and messages that are bytes.
"use strict";
const assert = require("node:assert");
const Redis = require("ioredis");

const port = Number(process.argv[2]);
const subscriber = new Redis(port, "127.0.0.1");
const publisher = new Redis(port, "127.0.0.1");
const heard = [];

function until(count) {
  return new Promise((resolve) => {
    const look = () => (heard.length >= count ? resolve() : setTimeout(look, 5));
    look();
  });
}

async function main() {
  subscriber.on("message", (channel, message) => heard.push([channel, message]));
  subscriber.on("pmessageBuffer", (pattern, channel, message) => heard.push([String(pattern), String(channel), message]));
  assert.strictEqual(await subscriber.subscribe("news", "music"), 2);
  assert.strictEqual(await publisher.publish("news", "hello"), 1);
  assert.strictEqual(await publisher.publish("music", "la"), 1);
  await until(2);
  assert.deepStrictEqual(heard.splice(0), [["news", "hello"], ["music", "la"]]);
  assert.strictEqual(await subscriber.psubscribe("b*"), 3);
  await publisher.publish("bytes", Buffer.from([0, 255, 13, 10]));
  await until(1);
  assert.deepStrictEqual(heard.splice(0), [["b*", "bytes", Buffer.from([0, 255, 13, 10])]]);
  const results = await publisher.multi().set("k", "v").publish("news", "in a transaction").exec();
  assert.deepStrictEqual(results, [[null, "OK"], [null, 1]]);
  await until(1);
  assert.deepStrictEqual(heard.splice(0), [["news", "in a transaction"]]);
  assert.strictEqual(await subscriber.unsubscribe("news", "music"), 1);
  assert.strictEqual(await subscriber.punsubscribe("b*"), 0);
  assert.strictEqual(await subscriber.get("k"), "v");
  await Promise.all([subscriber.quit(), publisher.quit()]);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
