#include "engine/redis_scripts.h"

#include <stddef.h>

/* All that is known of the lock. In `of`, a hash: owner, token, since, due, ttl and note of the grant, and as msgpack
 * those who wait, each {owner, channel, since, due, asked}, and the past, each {owner, token, from, to, why}. It lives
 * five minutes longer than what it tells of. A grant is this engine's while `name` holds its owner. Nobody is told of
 * more than its ttl, also when the server's clock was set back; the next renewal ends that. */
#define STATE                                                                                                          \
    "local name, of, index, counter = KEYS[1], KEYS[2], KEYS[3], KEYS[4]\n"                                            \
    "local t = redis.call('TIME')\n"                                                                                   \
    "local micros = t[1] * 1000000 + t[2]\n"                                                                           \
    "local now = math.floor(micros / 1000)\n"                                                                          \
    "local held = redis.call('GET', name)\n"                                                                           \
    "local left = held and redis.call('PTTL', name) or 0\n"                                                            \
    "local v = redis.call('HMGET', of, 'owner', 'token', 'since', 'due', 'note', 'waiters', 'past', 'ttl')\n"          \
    "local is_longer = false\n"                                                                                        \
    "local owner, token, since, due, note = v[1], v[2], tonumber(v[3] or 0), tonumber(v[4] or 0), v[5]\n"              \
    "local waiters = v[6] and cmsgpack.unpack(v[6]) or {}\n"                                                           \
    "local past = v[7] and cmsgpack.unpack(v[7]) or {}\n"                                                              \
    "local function n(number) return string.format('%.0f', number) end\n"                                              \
    "local function finish(why, at)\n"                                                                                 \
    "  table.insert(past, 1, {owner, token, since, at, why})\n"                                                        \
    "  past[17] = nil\n"                                                                                               \
    "  owner = false\n"                                                                                                \
    "end\n"                                                                                                            \
    "if owner and held ~= owner then\n"                                                                                \
    "  if due <= now then finish(1, due) else finish(2, now) end\n"                                                    \
    "end\n"                                                                                                            \
    "local lives_ms = tonumber(v[8] or left)\n"                                                                        \
    "if owner and left > lives_ms then left, is_longer = lives_ms, true end\n"                                         \
    "local live = {}\n"                                                                                                \
    "for _, w in ipairs(waiters) do\n"                                                                                 \
    "  if w[5] > now + 1000 then w[5] = now end\n" /* the server's clock was set back */                               \
    "  if w[4] > now and w[5] + 2000 > now then live[#live + 1] = w end\n"                                             \
    "end\n"                                                                                                            \
    "waiters = live\n"

/* Writes it, and wakes who is first when the lock is free. */
#define KEEP                                                                                                           \
    "local function keep()\n"                                                                                          \
    "  redis.call('HSET', of, 'token', token or '0', 'waiters', cmsgpack.pack(waiters), 'past', "                      \
    "cmsgpack.pack(past))\n"                                                                                           \
    "  if owner then\n"                                                                                                \
    "    redis.call('HSET', of, 'owner', owner, 'since', n(since), 'due', n(due), 'note', note,\n"                     \
    "      'ttl', n(lives_ms))\n"                                                                                      \
    "  else\n"                                                                                                         \
    "    redis.call('HDEL', of, 'owner', 'since', 'due', 'note', 'ttl')\n"                                             \
    "  end\n"                                                                                                          \
    "  redis.call('PEXPIRE', of, n(math.max(left, 0) + 300000))\n"                                                     \
    "end\n"                                                                                                            \
    "local function wake()\n"                                                                                          \
    "  if waiters[1] then redis.pcall('PUBLISH', waiters[1][2], name) end\n"                                           \
    "end\n"                                                                                                            \
    "local function find(me)\n"                                                                                        \
    "  for i, w in ipairs(waiters) do if w[1] == me then return i end end\n"                                           \
    "  return 0\n"                                                                                                     \
    "end\n"

/* What would leave the name held if the server stopped a script in the middle (a right that is missing) comes last. */
static const char acquire[] =
    STATE KEEP "local me, ttl, wait = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])\n"
               "local at = find(me)\n"
               "if held == me and owner == me then\n"
               "  local extends = ARGV[4] == '1' and left < ttl\n"
               "  if extends then left, due, lives_ms = ttl, now + ttl, ttl end\n"
               "  if at > 0 then table.remove(waiters, at) end\n"
               "  if extends or at > 0 then keep() end\n"
               "  if extends then\n"
               "    redis.call('ZADD', index, n(due), name)\n"
               "    redis.call('PEXPIRE', name, n(ttl))\n"
               "  end\n"
               "  return {1, token, left}\n"
               "end\n"
               "if not held and (at == 1 or #waiters == 0) then\n"
               "  if at == 1 then table.remove(waiters, 1) end\n"
               "  local last = tonumber(redis.call('GET', counter) or 0) or 0\n"
               "  owner, token, since, due, note = me, n(math.max(micros, last + 1)), now, now + ttl, ARGV[5]\n"
               "  left, lives_ms = ttl, ttl\n"
               "  keep()\n"
               "  redis.call('SET', counter, token)\n"
               "  redis.call('ZADD', index, n(due), name)\n"
               "  redis.call('SET', name, me, 'PX', n(ttl))\n"
               "  return {1, token, ttl}\n"
               "end\n"
               "if wait == 0 then\n"
               "  if at > 0 then\n"
               "    table.remove(waiters, at)\n"
               "    keep()\n"
               "  end\n"
               "  return {0}\n"
               "end\n"
               "if at == 0 then\n"
               "  if #waiters >= 256 then return {3} end\n"
               "  at = #waiters + 1\n"
               "  waiters[at] = {me, ARGV[6], now, now + wait, now}\n"
               "  keep()\n"
               "elseif now - waiters[at][5] >= 500 then\n"
               "  waiters[at][2], waiters[at][4], waiters[at][5] = ARGV[6], math.max(waiters[at][4], now + wait), now\n"
               "  keep()\n"
               "end\n"
               "return {2, left, at}\n";

static const char renew[] =
    STATE KEEP "local ttl = tonumber(ARGV[3])\n"
               "if held ~= ARGV[1] or owner ~= ARGV[1] or token ~= ARGV[2] then return {0} end\n"
               "if left < ttl or is_longer then\n"
               "  lives_ms = math.max(left, ttl)\n"
               "  left, due = lives_ms, now + lives_ms\n"
               "  keep()\n"
               "  redis.call('ZADD', index, n(due), name)\n"
               "  redis.call('PEXPIRE', name, n(left))\n"
               "end\n"
               "return {1, left}\n";

static const char release[] =
    STATE KEEP "if held ~= ARGV[1] or owner ~= ARGV[1] or token ~= ARGV[2] then return 0 end\n"
               "redis.call('DEL', name)\n"
               "finish(0, now)\n"
               "left = 0\n"
               "keep()\n"
               "redis.call('ZREM', index, name)\n"
               "wake()\n"
               "return 1\n";

static const char leave[] = STATE KEEP "local at = find(ARGV[1])\n"
                                       "if at > 0 then\n"
                                       "  table.remove(waiters, at)\n"
                                       "  keep()\n"
                                       "  if not held then wake() end\n"
                                       "end\n"
                                       "return 1\n";

static const char look[] = STATE "return {now, held, left, owner, token, since, note, waiters, past}\n";

/* Of names whose lease has run out, or that somebody deleted, nothing is kept. */
static const char list[] =
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
    "redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%.0f', now - 1000))\n"
    "local names = {}\n"
    "for _, name in ipairs(redis.call('ZRANGE', KEYS[3], 0, ARGV[1] - 1)) do\n"
    "  if redis.call('EXISTS', name) == 1 then names[#names + 1] = name else redis.call('ZREM', KEYS[3], name) end\n"
    "end\n"
    "return names\n";

const char *const redis_scripts_one[] = {
    [REDIS_SCRIPT_ACQUIRE] = acquire,
    [REDIS_SCRIPT_RENEW] = renew,
    [REDIS_SCRIPT_RELEASE] = release,
    [REDIS_SCRIPT_LEAVE] = leave,
    [REDIS_SCRIPT_LOOK] = look,
    [REDIS_SCRIPT_LIST] = list,
    NULL,
};

static const char redlock_acquire[] =
    "local value = redis.call('GET', KEYS[1])\n"
    "if not value then\n"
    "  redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3])\n"
    "  return {ARGV[2], tonumber(ARGV[3])}\n"
    "end\n"
    "local is_mine = #value == #ARGV[1] + 17 and string.sub(value, 1, -17) == ARGV[1] .. ' '\n"
    "return {is_mine and value or '', redis.call('PTTL', KEYS[1])}\n";

static const char redlock_renew[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
                                    "local left = redis.call('PTTL', KEYS[1])\n"
                                    "if left < tonumber(ARGV[2]) then\n"
                                    "  left = tonumber(ARGV[2])\n"
                                    "  redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
                                    "end\n"
                                    "return left\n";

static const char redlock_release[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
                                      "return redis.call('DEL', KEYS[1])\n";

static const char redlock_look[] = "return {redis.call('GET', KEYS[1]) or '', redis.call('PTTL', KEYS[1])}\n";

const char *const redis_scripts_redlock[] = {
    [REDLOCK_SCRIPT_ACQUIRE] = redlock_acquire,
    [REDLOCK_SCRIPT_RENEW] = redlock_renew,
    [REDLOCK_SCRIPT_RELEASE] = redlock_release,
    [REDLOCK_SCRIPT_LOOK] = redlock_look,
    NULL,
};
