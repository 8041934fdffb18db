/* The scripts of redis:// and redlock://: what is done at a server in one step. Lua 5.1, for Redis 5 and later. */
#pragma once

enum redis_script {
    REDIS_SCRIPT_ACQUIRE,
    REDIS_SCRIPT_RENEW,
    REDIS_SCRIPT_RELEASE,
    REDIS_SCRIPT_LEAVE,
    REDIS_SCRIPT_LOOK,
    REDIS_SCRIPT_LIST,
};

enum redlock_script { REDLOCK_SCRIPT_ACQUIRE, REDLOCK_SCRIPT_RENEW, REDLOCK_SCRIPT_RELEASE, REDLOCK_SCRIPT_LOOK };

/* What the engine's own keys begin with; no lock may have such a name. */
#define REDIS_OWN "cohort:lock/"

enum { REDIS_LIST_NAMES = 10000 };

/* KEYS: name, REDIS_OWN "of:" name, REDIS_OWN "index", REDIS_OWN "token". Replies:
 *   ACQUIRE owner ttl wait extends note channel   {1, token, left}  {0}  {2, left, place}  {3}: too many wait
 *   RENEW owner token ttl                         {1, left}  {0}
 *   RELEASE owner token                           1  0
 *   LEAVE owner                                   1
 *   LOOK                                          {now, value, left, owner, token, since, note, waiters, past}
 *   LIST                                          names */
extern const char *const redis_scripts_one[];

/* KEYS: name. A value is its owner, a space and 16 digits.
 *   ACQUIRE owner value ttl    {value, left} of this owner, {"", left} of another
 *   RENEW value ttl            left, or 0
 *   RELEASE value              1  0
 *   LOOK                       {value, left} */
extern const char *const redis_scripts_redlock[];
