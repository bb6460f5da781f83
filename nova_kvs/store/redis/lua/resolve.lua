-- SPDX-License-Identifier: Apache-2.0
-- resolve.lua: turn a decided transaction's intents in one partition into
-- records (outcome "c"), or remove them (outcome "a").
-- Writes. Uses prelude.lua.
-- KEYS[1] partition, KEYS[2] what became of the transaction here, KEYS[3]
-- the partition's index.
-- ARGV[1] transaction id, ARGV[2] outcome, ARGV[3] life of KEYS[2] in ms:
-- a prewrite that comes late again must not stage anything; then the fields
-- that the transaction has staged here, all of them (none: they are looked
-- for).
-- Returns what KEYS[2] says then: "c" only if all that was staged here has
-- been applied here, now or before. Where neither intents nor a "c" are there
-- a failover has lost them: "a", whatever the outcome is. Idempotent; touches
-- nothing of other transactions. O(fields), without fields O(partition).

local ID, OP, VERSION, PRIMARY = 17, 33, 34, 42

local committed = ARGV[2] == 'c'
local intents = {}
local first_field = 4
local fields = ARGV
if not ARGV[4] then
  first_field = 1
  fields = {}
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(name, 1, 1) == 'i' then
      fields[#fields + 1] = string.sub(name, 2)
    end
  end
end

for first = first_field, #fields, CHUNK do
  local names = {}
  for i = first, math.min(first + CHUNK - 1, #fields) do
    names[#names + 1] = 'i' .. fields[i]
  end
  local stored = redis.call('HMGET', KEYS[1], unpack(names))
  for i = 1, #names do
    if stored[i] and string.sub(stored[i], ID, OP - 1) == ARGV[1] then
      intents[#intents + 1] = {names[i], stored[i]}
    end
  end
end

local function read_length(intent, at)
  local high, low = string.byte(intent, at, at + 1)
  return high * 256 + low
end

-- Returns the members of a list in an intent, and what is behind it.
local function read_members(intent, at)
  local members = {}
  local count = read_length(intent, at)
  at = at + 2
  for _ = 1, count do
    local length = read_length(intent, at)
    members[#members + 1] = string.sub(intent, at + 2, at + 1 + length)
    at = at + 2 + length
  end
  return members, at
end

local puts, deletes, removes = {}, {}, {}
local floor = nil
for _, item in ipairs(intents) do
  local name, intent = item[1], item[2]
  local field = string.sub(name, 2)
  local op = string.sub(intent, OP, OP)
  local version = string.sub(intent, VERSION, VERSION + 7)
  local at = PRIMARY + 2 + read_length(intent, PRIMARY)
  local added, removed
  added, at = read_members(intent, at)
  removed, at = read_members(intent, at)
  deletes[#deletes + 1] = name
  for _, member in ipairs(committed and removed or added) do
    removes[#removes + 1] = member
  end
  if committed and (op == 'p' or op == 'P') then
    puts[#puts + 1] = field
    puts[#puts + 1] = version .. string.sub(intent, at)
  elseif committed and op ~= 'l' then
    deletes[#deletes + 1] = field
    if op == 'D' then
      floor = floor or read_floor(KEYS[1])
      if above(version, floor) then
        floor = version
      end
    end
  end
end
if floor then
  puts[#puts + 1] = 'f'
  puts[#puts + 1] = floor
end

-- What frees memory first, and something in any case: Redis lets a script
-- that has written go on when there is no more memory.
local outcome = ARGV[2]
if #intents == 0 then
  outcome = redis.call('GET', KEYS[2]) == 'c' and 'c' or 'a'
end
redis.call('DEL', KEYS[2])
write('HDEL', KEYS[1], deletes)
write('ZREM', KEYS[3], removes)
write('HSET', KEYS[1], puts)
redis.call('SET', KEYS[2], outcome, 'PX', ARGV[3])
return outcome
