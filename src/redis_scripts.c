/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "redis_scripts.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

/*
 * Times are microseconds of Redis' own clock. Lua's numbers are doubles: exact up to 2^53, which is the year 2255; but made text
 * only by
 * '%.0f'. Tokens and fingerprints have 64 bits and stay text. Before Redis 5 a script that asks for the time may only write when
 * it sends what it wrote, not itself, to replicas.
 */
#define BEGIN                                                                                                              \
    "if redis.replicate_commands then redis.replicate_commands() end\n"                                                    \
    "if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return {-1} end\n"                                          \
    "local clock = redis.call('TIME')\n"                                                                                   \
    "local now = clock[1] * 1000000 + clock[2]\n"                                                                          \
    "local function text(n) return string.format('%.0f', n) end\n"                                                         \
    "local k = KEYS[2]\n"

/*
 * A claim is a hash: s its state (w, c, s), t token, f fingerprint, w until when its owner is alive, x until when it is kept, r reply.
 * What was given back is remembered as such (g) until then: where nothing at all is found, Redis may have lost it.
 */
#define CLAIM                                                                                                              \
    BEGIN                                                                                                                  \
    "local c = redis.call('HMGET', k, 's', 't', 'f', 'w', 'x')\n"                                                          \
    "local known = c[1] and 1 or 0\n"                                                                                      \
    "local live = c[1] and c[1] ~= 'g' and tonumber(c[5]) > now\n"                                                         \
    "local lost = c[1] == 'c' and tonumber(c[4]) <= now\n"                                                                 \
    "local function keep(x) redis.call('PEXPIREAT', k, text(math.ceil(x / 1000))) end\n"                                   \
    "local function give_back()\n"                                                                                         \
    "  redis.call('DEL', k)\n"                                                                                             \
    "  redis.call('HSET', k, 's', 'g', 'x', c[5])\n"                                                                       \
    "  keep(tonumber(c[5]))\n"                                                                                             \
    "end\n"

#define TELL                                                                                                               \
    "if live then\n"                                                                                                       \
    "  if c[1] ~= 's' and not lost then return {1, c[3], c[4] - now} end\n"                                                \
    "  return {2, c[3], c[5] - now, c[2], lost and 1 or 0, redis.call('HGET', k, 'r') or ''}\n"                            \
    "end\n"

static const char claim_text[] =
    CLAIM TELL
    "local x = text(now + ARGV[4])\n"
    "if c[1] then redis.call('DEL', k) end\n"
    "redis.call('HSET', k, 's', 'w', 't', ARGV[2], 'f', ARGV[3], 'w', x, 'x', x)\n"
    "keep(now + ARGV[4])\n"
    "return {0, known}\n";

static const char recall_text[] =
    CLAIM TELL
    "return {3, known}\n";

static const char commit_text[] =
    CLAIM
    "if not live or c[2] ~= ARGV[2] or c[1] == 's' or lost then return {3} end\n"
    "local x = math.max(now + ARGV[4], tonumber(c[4]))\n"
    "redis.call('HSET', k, 's', 'c', 'x', text(x), 'r', ARGV[3])\n"
    "keep(x)\n"
    "return {0}\n";

static const char settle_text[] =
    CLAIM
    "if not live or c[2] ~= ARGV[2] or c[1] == 's' then return {3} end\n"
    "if tonumber(ARGV[4]) <= 0 then\n"
    "  give_back()\n"
    "  return {0}\n"
    "end\n"
    "local x = now + ARGV[4]\n"
    "redis.call('HSET', k, 's', 's', 'w', text(now), 'x', text(x), 'r', ARGV[3])\n"
    "keep(x)\n"
    "return {0}\n";

/* ARGV[2] is empty: whoever's. */
static const char abandon_text[] =
    CLAIM
    "if not live then return {3} end\n"
    "if ARGV[2] ~= '' and (c[2] ~= ARGV[2] or (c[1] == 'c' and not lost)) then return {3} end\n"
    "give_back()\n"
    "return {0}\n";

/* ARGV: delta, limit, window in milliseconds, '1' to restart it. */
static const char count_text[] =
    BEGIN
    "local was = tonumber(redis.call('GET', k) or nil)\n"
    "local value, delta, limit = was or 0, tonumber(ARGV[2]), tonumber(ARGV[3])\n"
    "local sum = math.max(value + delta, 0)\n"
    "if delta == 0 or (delta < 0 and not was) then return {0, value} end\n"
    "if delta > 0 and (sum > 2147483647 or (limit >= 0 and sum > limit)) then return {4, value} end\n"
    "if not was then\n"
    "  if tonumber(ARGV[4]) > 0 then redis.call('SET', k, sum, 'PX', ARGV[4]) end\n"
    "  return {0, sum}\n"
    "end\n"
    "redis.call('INCRBY', k, text(sum - value))\n"
    "if ARGV[5] == '1' then redis.call('PEXPIRE', k, ARGV[4]) end\n"
    "return {0, sum}\n";

static const char put_text[] =
    BEGIN
    "if tonumber(ARGV[3]) > 0 then redis.call('SET', k, ARGV[2], 'PX', ARGV[3]) else redis.call('DEL', k) end\n"
    "return {0}\n";

static const char get_text[] =
    BEGIN
    "local value = redis.call('GET', k)\n"
    "return value and {0, value} or {3}\n";

/*
 * Notes are a hash: '=FIELD' -> 'NUMBER:VALUE', numbered by their first note; '#' -> the last number given and the length of all.
 * ARGV: field, what is expected ('n' nothing, '*' whatever, 'v' this value), the value, '1' to note, '0' to take away, the new
 * value, milliseconds to keep.
 */
static const char note_text[] =
    BEGIN
    "local f = '=' .. ARGV[2]\n"
    "local got = redis.call('HMGET', k, f, '#')\n"
    "local number, value\n"
    "if got[1] then number, value = string.match(got[1], '^(%d+):(.*)$') end\n"
    "if (ARGV[3] == 'n' and value) or (ARGV[3] == 'v' and value ~= ARGV[4]) then return {4} end\n"
    "local last, length = string.match(got[2] or '0 0', '^(%d+) (%d+)$')\n"
    "length = tonumber(length) - (value and #ARGV[2] + #value + 2 or 0)\n"
    "if ARGV[5] == '1' then\n"
    "  length = length + #ARGV[2] + #ARGV[6] + 2\n"
    "  if length > 65536 then return {5} end\n"
    "  if not number then last = last + 1; number = last end\n"
    "  redis.call('HSET', k, f, text(number) .. ':' .. ARGV[6], '#', text(last) .. ' ' .. text(length))\n"
    "elseif not value then\n"
    "  return {0}\n"
    "elseif redis.call('HLEN', k) <= 2 then\n"
    "  redis.call('DEL', k)\n"
    "  return {0}\n"
    "else\n"
    "  redis.call('HDEL', k, f)\n"
    "  redis.call('HSET', k, '#', text(last) .. ' ' .. text(length))\n"
    "end\n"
    "redis.call('PEXPIRE', k, ARGV[7])\n"
    "return {0}\n";

static const char notes_text[] =
    BEGIN
    "return {0, redis.call('HGETALL', k)}\n";

/* What is kept about an owner: a sorted set of ends of keys ('c:DIGEST'), by when they need not be known any more. */
static const char own_text[] =
    BEGIN
    "local ends = now / 1000 + ARGV[2]\n"
    "redis.call('ZREMRANGEBYSCORE', k, '-inf', text(now / 1000))\n"
    "for i = 3, #ARGV do redis.call('ZADD', k, text(ends), ARGV[i]) end\n"
    "if redis.call('PTTL', k) < tonumber(ARGV[2]) then redis.call('PEXPIRE', k, ARGV[2]) end\n"
    "return {0}\n";

/* ARGV[2]: what all keys begin with. Claims that are worked on or committed stay, and stay the owner's. */
static const char forget_text[] =
    BEGIN
    "local dropped = 0\n"
    "for _, name in ipairs(redis.call('ZRANGE', k, 0, -1)) do\n"
    "  local at = ARGV[2] .. name\n"
    "  local stays = false\n"
    "  if string.sub(name, 1, 2) == 'c:' then\n"
    "    local c = redis.call('HMGET', at, 's', 'w', 'x')\n"
    "    stays = (c[1] == 'w' or c[1] == 'c') and tonumber(c[2]) > now\n"
    "  end\n"
    "  if not stays then\n"
    "    dropped = dropped + redis.call('DEL', at)\n"
    "    redis.call('ZREM', k, name)\n"
    "  end\n"
    "end\n"
    "return {0, dropped}\n";

/*
 * Seats are one hash: DIGEST -> 'PRESENCE REST BEGAN ENDED SERVED' and ';TOKEN BEGAN BEFORE ENDS STATE' for each lease. REST and
 * ENDS are until when; BEGAN and ENDED of a seat are of its latest lease that began, and ended, and was not given back; BEFORE is
 * what BEGAN was. STATE is 0 until a lease is occupied, 1 then, 2 once it was released and only its wrap-up is left.
 */
#define SEAT                                                                                                               \
    BEGIN                                                                                                                  \
    "local function read(kept)\n"                                                                                          \
    "  local m = {presence = 0, rest = 0, began = 0, ended = 0, served = 0, leases = {}}\n"                                \
    "  if not kept then return m end\n"                                                                                    \
    "  local presence, rest, began, ended, served, leases = string.match(kept, '^(%d) (%d+) (%d+) (%d+) (%d+)(.*)$')\n"    \
    "  m.presence, m.rest, m.served = tonumber(presence), tonumber(rest), tonumber(served)\n"                              \
    "  m.began, m.ended = tonumber(began), tonumber(ended)\n"                                                              \
    "  for token, began, before, ends, state in string.gmatch(leases, ';(%x+) (%d+) (%d+) (%d+) (%d)') do\n"               \
    "    ends = tonumber(ends)\n"                                                                                          \
    "    if ends > now then\n"                                                                                             \
    "      m.leases[#m.leases + 1] =\n"                                                                                    \
    "        {token = token, began = tonumber(began), before = tonumber(before), ends = ends, state = tonumber(state)}\n"  \
    "    else\n"                                                                                                           \
    "      m.ended = math.max(m.ended, ends)\n"                                                                            \
    "    end\n"                                                                                                            \
    "  end\n"                                                                                                              \
    "  return m\n"                                                                                                         \
    "end\n"                                                                                                                \
    "local function write(field, m)\n"                                                                                     \
    "  local words = {string.format('%d %.0f %.0f %.0f %.0f', m.presence, m.rest, m.began, m.ended, m.served)}\n"          \
    "  for _, l in ipairs(m.leases) do\n"                                                                                  \
    "    words[#words + 1] = string.format('%s %.0f %.0f %.0f %d', l.token, l.began, l.before, l.ends, l.state)\n"         \
    "  end\n"                                                                                                              \
    "  redis.call('HSET', k, field, table.concat(words, ';'))\n"                                                           \
    "end\n"

#define LEASE                                                                                                              \
    SEAT                                                                                                                   \
    "local m = read(redis.call('HGET', k, ARGV[2]))\n"                                                                     \
    "local at\n"                                                                                                           \
    "for i, l in ipairs(m.leases) do if l.token == ARGV[3] then at = i end end\n"                                          \
    "local l = m.leases[at or 0]\n"                                                                                        \
    "if not l or l.state == 2 then return {3} end\n"

/*
 * ARGV: 2 the pool, 3 its strategy, 4 leave, 5 preferred (from 1), 6 hold, 7 '1' to look only, 8 the token; from 9 on the
 * candidates: 'DIGEST CAPACITY WEIGHT BARRED HERE RESTS', where HERE is how many leases of another store count too, and RESTS is
 * '1' for who rests there. The pool's own field: how many turns it had, and who was chosen last.
 * The answer also has the presence of each candidate, a digit each.
 */
static const char lease_text[] =
    SEAT
    "local strategy, leave, preferred = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])\n"
    "local turns, last = 0, 0\n"
    "if strategy == 2 or strategy == 3 then\n"
    "  turns, last = string.match(redis.call('HGET', k, ARGV[2]) or '0 0', '^(%d+) (%d+)$')\n"
    "  turns, last = tonumber(turns), tonumber(last)\n"
    "end\n"
    "local spare, full, away = 0, false, false\n"
    "local first, next, liked, best, best_load, best_held, best_since\n"
    "local free, weights, total = {}, {}, 0\n"
    "local match, gmatch, known, presences = string.match, string.gmatch, {}, {}\n"
    "local function look(i, kept)\n"
    "  presences[i] = '0'\n"
    "  local tail = string.sub(ARGV[i + 8], 34)\n"
    "  local terms = known[tail]\n"
    "  if not terms then\n"
    "    local capacity, weight, barred, here, rests = match(tail, '^(%d+) (%d+) (%d) (%d+) (%d)$')\n"
    "    terms = {tonumber(capacity), tonumber(weight), barred == '1', tonumber(here), rests == '0'}\n"
    "    known[tail] = terms\n"
    "  end\n"
    "  local capacity, active, usable, began, ended = terms[1], terms[4], terms[5], 0, 0\n"
    "  if kept then\n"
    "    local presence, rest, leases\n"
    "    presence, rest, began, ended, leases = match(kept, '^(%d) (%d+) (%d+) (%d+) %d+(.*)$')\n"
    "    began, ended, presences[i] = tonumber(began), tonumber(ended), presence\n"
    "    usable = usable and presence == '0' and tonumber(rest) <= now\n"
    "    if leases ~= '' then\n"
    "      for ends in gmatch(leases, ';%x+ %d+ %d+ (%d+) %d') do\n"
    "        ends = tonumber(ends)\n"
    "        if ends > now then active = active + 1 elseif ends > ended then ended = ends end\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  if usable and active < capacity then spare = spare + capacity - active end\n"
    "  if terms[3] then return end\n"
    "  if not usable then away = true; return end\n"
    "  if active >= capacity then full = true; return end\n"
    "  first = first or i\n"
    "  if i > last then next = next or i end\n"
    "  if i == preferred then liked = i end\n"
    "  if strategy == 3 then\n"
    "    free[#free + 1] = i\n"
    "    total = total + terms[2]\n"
    "    weights[#weights + 1] = total\n"
    "  elseif strategy < 2 then\n"
    "    local load, held = strategy == 0 and active / capacity or 0, active > 0 and 1 or 0\n"
    "    local since = (active > 0 or began > ended) and began or ended\n"
    "    if not best or load < best_load or (load == best_load and (held < best_held\n"
    "       or (held == best_held and since < best_since))) then\n"
    "      best, best_load, best_held, best_since = i, load, held, since\n"
    "    end\n"
    "  end\n"
    "end\n"
    "local n = #ARGV - 8\n"
    "for from = 1, n, 500 do\n"
    "  local digests = {}\n"
    "  for i = from, math.min(from + 499, n) do digests[#digests + 1] = string.sub(ARGV[i + 8], 1, 32) end\n"
    "  local kept = redis.call('HMGET', k, unpack(digests))\n"
    "  for i = 1, #digests do look(from + i - 1, kept[i]) end\n"
    "end\n"
    "presences = table.concat(presences)\n"
    "if not first or spare - 1 < leave then return {-2, not first and away and not full and 1 or 0, presences} end\n"
    "local chosen = liked\n"
    "if not chosen and strategy == 3 then\n"
    "  local at = math.fmod(turns * 0.6180339887498949, 1) * total\n"
    "  for i = 1, #free do\n"
    "    if weights[i] > at then chosen = free[i]; break end\n"
    "  end\n"
    "  chosen = chosen or free[#free]\n"
    "end\n"
    "if not chosen then chosen = strategy == 2 and (next or first) or strategy < 2 and best or first end\n"
    "if ARGV[7] == '1' then return {chosen, 0, presences} end\n"
    "local digest = string.sub(ARGV[chosen + 8], 1, 32)\n"
    "local m = read(redis.call('HGET', k, digest))\n"
    "local began = math.max(now, m.began + 1)\n"
    "m.leases[#m.leases + 1] = {token = ARGV[8], began = began, before = m.began, ends = now + ARGV[6], state = 0}\n"
    "m.began = began\n"
    "write(digest, m)\n"
    "if (strategy == 2 or strategy == 3) and not liked then\n"
    "  redis.call('HSET', k, ARGV[2], text(turns + 1) .. ' ' .. text(chosen))\n"
    "end\n"
    "return {chosen, 0, presences}\n";

static const char occupy_text[] =
    LEASE
    "if l.state == 0 then m.served = m.served + 1 end\n"
    "l.state = 1\n"
    "l.ends = now + ARGV[4]\n"
    "write(ARGV[2], m)\n"
    "return {0}\n";

static const char release_text[] =
    LEASE
    "local wrap_up = tonumber(ARGV[4])\n"
    "if wrap_up < 0 then\n"
    "  if l.state == 1 then m.served = math.max(m.served - 1, 0) end\n"
    "  if m.began == l.began then m.began = l.before end\n"
    "  for _, other in ipairs(m.leases) do\n"
    "    if other.before == l.began then other.before = l.before end\n"
    "  end\n"
    "  table.remove(m.leases, at)\n"
    "elseif wrap_up == 0 then\n"
    "  m.ended = math.max(m.ended, now)\n"
    "  table.remove(m.leases, at)\n"
    "else\n"
    "  l.ends = math.min(l.ends, now + wrap_up)\n"
    "  l.state = 2\n"
    "end\n"
    "write(ARGV[2], m)\n"
    "return {0}\n";

static const char rest_text[] =
    SEAT
    "local m = read(redis.call('HGET', k, ARGV[2]))\n"
    "m.rest = math.max(m.rest, now + ARGV[3])\n"
    "write(ARGV[2], m)\n"
    "return {0}\n";

static const char present_text[] =
    SEAT
    "local m = read(redis.call('HGET', k, ARGV[2]))\n"
    "m.presence = tonumber(ARGV[3])\n"
    "if m.presence == 0 then m.rest = 0 end\n"
    "write(ARGV[2], m)\n"
    "return {0}\n";

/* Four numbers a seat: presence, leases, rest, served. */
static const char survey_text[] =
    SEAT
    "local views = {0}\n"
    "for from = 2, #ARGV, 500 do\n"
    "  local all = redis.call('HMGET', k, unpack(ARGV, from, math.min(from + 499, #ARGV)))\n"
    "  for i = 1, math.min(500, #ARGV - from + 1) do\n"
    "    local m = read(all[i])\n"
    "    local n = #views\n"
    "    views[n + 1], views[n + 2] = m.presence, #m.leases\n"
    "    views[n + 3], views[n + 4] = math.max(m.rest - now, 0), m.served\n"
    "  end\n"
    "end\n"
    "return views\n";

static const char *const texts[VAPI_SCRIPTS] = {
    [VAPI_SCRIPT_CLAIM] = claim_text,     [VAPI_SCRIPT_COMMIT] = commit_text,   [VAPI_SCRIPT_SETTLE] = settle_text,
    [VAPI_SCRIPT_RECALL] = recall_text,   [VAPI_SCRIPT_ABANDON] = abandon_text, [VAPI_SCRIPT_COUNT] = count_text,
    [VAPI_SCRIPT_PUT] = put_text,         [VAPI_SCRIPT_GET] = get_text,         [VAPI_SCRIPT_NOTE] = note_text,
    [VAPI_SCRIPT_NOTES] = notes_text,     [VAPI_SCRIPT_OWN] = own_text,         [VAPI_SCRIPT_FORGET] = forget_text,
    [VAPI_SCRIPT_LEASE] = lease_text,     [VAPI_SCRIPT_OCCUPY] = occupy_text,   [VAPI_SCRIPT_RELEASE] = release_text,
    [VAPI_SCRIPT_REST] = rest_text,       [VAPI_SCRIPT_PRESENT] = present_text, [VAPI_SCRIPT_SURVEY] = survey_text
};

const char *vapi_script_text(vapi_script script)
{
    return texts[script];
}

void vapi_script_sha(vapi_script script, char *sha)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    unsigned int i, len = 0;

    EVP_Digest(texts[script], strlen(texts[script]), digest, &len, EVP_sha1(), NULL);
    for (i = 0; i < 20; i++) {
        snprintf(sha + (size_t)2 * i, 3, "%02x", digest[i]);
    }
}
