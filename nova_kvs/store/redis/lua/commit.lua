-- SPDX-License-Identifier: Apache-2.0
-- commit.lua: apply one partition's mutations, all of them or none, and
-- record the transaction's outcome in the same step: the commit point.
-- Writes.
-- KEYS[1] partition, KEYS[2] outcome, KEYS[3] the partition's index (only
-- if a mutation changes it, or more keys follow), KEYS[4..] sorted sets and
-- hashes that get entries (only where one server has every key).
-- ARGV[1] life of outcome "c" in ms ("": until removed), ARGV[2] life of
-- outcome "a" in ms, ARGV[3] number n of mutations, ARGV[4] number of index
-- additions, ARGV[5] number m of fields that the caller takes for all that
-- the partition has (0: it takes nothing for known), ARGV[6] the time, by
-- this server's clock, after which nothing is applied (ms since the epoch;
-- "": none); m of the fields above, then what they hold;
-- n times: op, field, expected version ("": absent), new cell;
-- for each of KEYS[4..]: ms until the entry is due ("": its score is 0), or
-- ">" and a score to raise it to, or "=" and the value of a field of a hash;
-- member or field; then index members to add, then those to remove.
-- op: "p" put, "P" insert above the floor, "d" delete, "D" delete that
-- raises the floor, "l" only validate. Versions are 8 bytes, big-endian.
-- Returns the outcome: "c"; "a" aborted by another; "av" and the numbers of
-- the mutations (from 0) whose version differs; "af" and the floor; "al"
-- and the time: it came too late. Or a list, number of a mutation, intent
-- in its way, ...: nothing was decided.
-- Or "as": the partition is not as it was taken to be; the first time a
-- list, "as" and what HGETALL says instead.
-- Idempotent: what was decided first is returned again. O(mutations, index
-- members and m), m <= 512.

local CHUNK = 4000

local outcome = redis.call('GET', KEYS[2])
if outcome then
  return outcome
end

local now = nil
local function read_clock()
  if not now then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  end
  return now
end

-- An outcome is forgotten some time after this: a copy of this script that
-- comes then would find nothing that tells it of what was decided.
if ARGV[6] ~= '' and read_clock() > tonumber(ARGV[6]) then
  outcome = string.format('al%.0f', now)
  redis.call('SET', KEYS[2], outcome, 'PX', ARGV[2])
  return outcome
end

local known = tonumber(ARGV[5])
local HEADER = 6 + 2 * known
local count = tonumber(ARGV[3])
local floor = nil
local new_floor = nil
local differing = {}
local refused = false
local blocking = {}

if known > 0 then
  -- As many fields, and each of them the same: then there is no other.
  local same = redis.call('HLEN', KEYS[1]) == known
  if same then
    local stored = redis.call('HMGET', KEYS[1], unpack(ARGV, 7, 6 + known))
    local at = 6 + known
    for i = 1, known do
      if stored[i] ~= ARGV[at + i] then
        same = false
        break
      end
    end
  end
  if not same then
    -- Decided: the caller may report what it finds instead, and this script
    -- must not commit when it comes once more.
    redis.call('SET', KEYS[2], 'as', 'PX', ARGV[2])
    return {'as', redis.call('HGETALL', KEYS[1])}
  end
end

-- Not "<": Redis compares strings in the server's locale.
local function above(a, b)
  for i = 1, 8 do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x > y
    end
  end
  return false
end

local function read_floor()
  return redis.call('HGET', KEYS[1], 'f') or '\0\0\0\0\0\0\0\0'
end

for first = 0, count - 1, CHUNK / 2 do
  local last = math.min(first + CHUNK / 2, count) - 1
  local names = {}
  for i = first, last do
    local field = ARGV[HEADER + 4 * i + 2]
    names[#names + 1] = field
    names[#names + 1] = 'i' .. field
  end
  local stored = redis.call('HMGET', KEYS[1], unpack(names))
  for i = first, last do
    local at = HEADER + 4 * i
    local cell = stored[2 * (i - first) + 1]
    local intent = stored[2 * (i - first) + 2]
    if intent then
      blocking[#blocking + 1] = i
      blocking[#blocking + 1] = intent
    elseif (cell and string.sub(cell, 1, 8) or '') ~= ARGV[at + 3] then
      differing[#differing + 1] = i
    elseif ARGV[at + 1] == 'P' then
      floor = floor or read_floor()
      refused = refused or not above(string.sub(ARGV[at + 4], 1, 8), floor)
    end
  end
end

if #differing > 0 then
  outcome = 'av' .. table.concat(differing, ',')
elseif refused then
  outcome = 'af' .. floor
end
if outcome then
  redis.call('SET', KEYS[2], outcome, 'PX', ARGV[2])
  return outcome
end
if #blocking > 0 then
  return blocking
end

local puts, deletes = {}, {}
for i = 0, count - 1 do
  local at = HEADER + 4 * i
  local op = ARGV[at + 1]
  if op == 'p' or op == 'P' then
    puts[#puts + 1] = ARGV[at + 2]
    puts[#puts + 1] = ARGV[at + 4]
  elseif op ~= 'l' then
    deletes[#deletes + 1] = ARGV[at + 2]
    if op == 'D' then
      floor = floor or read_floor()
      if above(ARGV[at + 3], new_floor or floor) then
        new_floor = ARGV[at + 3]
      end
    end
  end
end
if new_floor then
  puts[#puts + 1] = 'f'
  puts[#puts + 1] = new_floor
end

local function write(command, key, list)
  for first = 1, #list, CHUNK do
    redis.call(command, key,
               unpack(list, first, math.min(first + CHUNK - 1, #list)))
  end
end

-- Entries first: if a sorted set is none, nothing has happened yet.
local at = HEADER + 4 * count
for i = 4, #KEYS do
  local delay, member = ARGV[at + 1], ARGV[at + 2]
  at = at + 2
  if delay == '' then
    redis.call('ZADD', KEYS[i], '0', member)
  elseif string.byte(delay) == 62 then
    redis.call('ZADD', KEYS[i], 'GT', string.sub(delay, 2), member)
  elseif string.byte(delay) == 61 then
    redis.call('HSET', KEYS[i], member, string.sub(delay, 2))
  else
    redis.call('ZADD', KEYS[i], 'NX',
               string.format('%.0f', read_clock() + tonumber(delay)), member)
  end
end
write('HSET', KEYS[1], puts)
write('HDEL', KEYS[1], deletes)
if KEYS[3] then
  local adds, removes = {}, {}
  local middle = at + tonumber(ARGV[4])
  for i = at + 1, middle do
    adds[#adds + 1] = '0'
    adds[#adds + 1] = ARGV[i]
  end
  for i = middle + 1, #ARGV do
    removes[#removes + 1] = ARGV[i]
  end
  write('ZADD', KEYS[3], adds)
  write('ZREM', KEYS[3], removes)
end
if ARGV[1] == '' then
  redis.call('SET', KEYS[2], 'c')
else
  redis.call('SET', KEYS[2], 'c', 'PX', ARGV[1])
end
return 'c'
