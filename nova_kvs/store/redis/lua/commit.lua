-- SPDX-License-Identifier: Apache-2.0
-- commit.lua: apply a transaction's changes, all of them or none, and record
-- its outcome in the same step: the commit point.
-- Writes. Uses prelude.lua.
-- KEYS[1] partition of the first part, KEYS[2] outcome, the partition's index
-- if a change concerns it; likewise partition and index of each other part;
-- then a sorted set or hash for each side write.
-- Several parts and side writes only where one server has every key.
-- ARGV[1] numbers with blanks between them: life of outcome "c" in ms (0:
-- until removed), life of outcome "a" in ms, the time, by this server's
-- clock, after which nothing is applied (ms since the epoch; 0: none),
-- number of parts; for each part the number n of changes, the number m of
-- fields that the caller takes for all that the partition has (0: it takes
-- nothing for known), the number of index additions and that of removals.
-- Then for each part: m of the fields above, and what they hold; n times:
-- op, field, expected version ("": absent), new value; the index members to
-- add, and those to remove. Then for each side write: ms until the entry is
-- due ("": its score is 0), or ">" and a score to raise it to, or "=" and
-- the value of a field of a hash; its member or field.
-- op: "p" put, "P" insert above the floor, "d" delete, "D" delete that
-- raises the floor, "l" only validate. Versions are 8 bytes, big-endian.
-- Returns the outcome: "c"; "a" aborted by another; "av" and the numbers of
-- the changes (from 0, over all parts) whose version differs; "af", the
-- floor and the number of the part; "al" and the time: it came too late. Or
-- a list, number of a change, intent in its way, ...: nothing was decided.
-- Or "as": a partition is not as it was taken to be; the first time a
-- list, "as" and what HGETALL says instead.
-- Idempotent: what was decided first is returned again. O(changes, index
-- members and m), m <= 512.

local outcome = redis.call('GET', KEYS[2])
if outcome then
  return outcome
end

local numbers = {}
for digits in string.gmatch(ARGV[1], '%d+') do
  numbers[#numbers + 1] = tonumber(digits)
end
local committed_ms, refused_ms, deadline = numbers[1], numbers[2], numbers[3]

local function refuse(text)
  redis.call('SET', KEYS[2], text, 'PX', refused_ms)
  return text
end

-- An outcome is forgotten some time after this: a copy of this script that
-- comes then would find nothing that tells it of what was decided.
if deadline > 0 then
  local now = read_clock()
  if now > deadline then
    return refuse(string.format('al%.0f', now))
  end
end

local parts = {}
local next_key, at, seen = 3, 1, 0
for number = 1, numbers[4] do
  local i = 4 * number
  local key = KEYS[1]
  if number > 1 then
    key = KEYS[next_key]
    next_key = next_key + 1
  end
  local part = {
    key = key, changes = numbers[i + 1], known = numbers[i + 2],
    adds = numbers[i + 3], removes = numbers[i + 4], before = seen}
  if part.adds + part.removes > 0 then
    part.index = KEYS[next_key]
    next_key = next_key + 1
  end
  part.known_at = at
  part.at = at + 2 * part.known
  part.index_at = part.at + 4 * part.changes
  at = part.index_at + part.adds + part.removes
  seen = seen + part.changes
  parts[number] = part
end

for _, part in ipairs(parts) do
  local known = part.known
  if known > 0 then
    -- As many fields, and each of them the same: then there is no other.
    local same = redis.call('HLEN', part.key) == known
    if same then
      local first = part.known_at + 1
      local stored = redis.call(
        'HMGET', part.key, unpack(ARGV, first, part.known_at + known))
      for i = 1, known do
        if stored[i] ~= ARGV[part.known_at + known + i] then
          same = false
          break
        end
      end
    end
    if not same then
      -- Decided: the caller may report what it finds instead, and this
      -- script must not commit when it comes once more.
      refuse('as')
      return {'as', redis.call('HGETALL', part.key)}
    end
  end
end

local differing = {}
local refused = nil
local blocking = {}
for number, part in ipairs(parts) do
  for first = 0, part.changes - 1, CHUNK / 2 do
    local last = math.min(first + CHUNK / 2, part.changes) - 1
    local names = {}
    for i = first, last do
      local field = ARGV[part.at + 4 * i + 2]
      names[#names + 1] = field
      names[#names + 1] = 'i' .. field
    end
    local stored = redis.call('HMGET', part.key, unpack(names))
    for i = first, last do
      local change = part.at + 4 * i
      local value = stored[2 * (i - first) + 1]
      local intent = stored[2 * (i - first) + 2]
      if intent then
        blocking[#blocking + 1] = part.before + i
        blocking[#blocking + 1] = intent
      elseif (value and string.sub(value, 1, 8) or '') ~= ARGV[change + 3] then
        differing[#differing + 1] = part.before + i
      elseif ARGV[change + 1] == 'P' then
        part.floor = part.floor or read_floor(part.key)
        if not above(string.sub(ARGV[change + 4], 1, 8), part.floor) then
          refused = refused or 'af' .. part.floor .. (number - 1)
        end
      end
    end
  end
end

if #differing > 0 then
  return refuse('av' .. table.concat(differing, ','))
elseif refused then
  return refuse(refused)
elseif #blocking > 0 then
  return blocking
end

-- Side writes first: if a sorted set is none, nothing has happened yet.
local now = nil
for i = next_key, #KEYS do
  local how, member = ARGV[at + 1], ARGV[at + 2]
  at = at + 2
  if how == '' then
    redis.call('ZADD', KEYS[i], '0', member)
  elseif string.byte(how) == 62 then
    redis.call('ZADD', KEYS[i], 'GT', string.sub(how, 2), member)
  elseif string.byte(how) == 61 then
    redis.call('HSET', KEYS[i], member, string.sub(how, 2))
  else
    now = now or read_clock()
    redis.call('ZADD', KEYS[i], 'NX',
               string.format('%.0f', now + tonumber(how)), member)
  end
end

for _, part in ipairs(parts) do
  local puts, deletes = {}, {}
  local new_floor = nil
  for change = part.at, part.index_at - 1, 4 do
    local op = ARGV[change + 1]
    if op == 'p' or op == 'P' then
      puts[#puts + 1] = ARGV[change + 2]
      puts[#puts + 1] = ARGV[change + 4]
    elseif op ~= 'l' then
      deletes[#deletes + 1] = ARGV[change + 2]
      if op == 'D' then
        part.floor = part.floor or read_floor(part.key)
        if above(ARGV[change + 3], new_floor or part.floor) then
          new_floor = ARGV[change + 3]
        end
      end
    end
  end
  if new_floor then
    puts[#puts + 1] = 'f'
    puts[#puts + 1] = new_floor
  end
  write('HSET', part.key, puts)
  write('HDEL', part.key, deletes)
  if part.index then
    local middle = part.index_at + part.adds
    add_members(part.index, ARGV, part.index_at + 1, middle)
    local removes = {}
    for i = middle + 1, middle + part.removes do
      removes[#removes + 1] = ARGV[i]
    end
    write('ZREM', part.index, removes)
  end
end
if committed_ms == 0 then
  redis.call('SET', KEYS[2], 'c')
else
  redis.call('SET', KEYS[2], 'c', 'PX', committed_ms)
end
return 'c'
