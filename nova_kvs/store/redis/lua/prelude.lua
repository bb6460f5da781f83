-- SPDX-License-Identifier: Apache-2.0
-- prelude.lua: what several scripts use; in front of those that say so.

-- Redis's Lua passes at most about 8,000 arguments to a command.
local CHUNK = 4000

-- Not "<" on versions: Redis compares strings in the server's locale.
local function above(a, b)
  for i = 1, 8 do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x > y
    end
  end
  return false
end

-- The version that a partition's inserts must be above, 8 bytes.
local function read_floor(key)
  return redis.call('HGET', key, 'f') or '\0\0\0\0\0\0\0\0'
end

-- The time by this server's clock, ms since the epoch.
local function read_clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Run a command on a list that may be long, or empty.
local function write(command, key, list)
  for first = 1, #list, CHUNK do
    redis.call(command, key,
               unpack(list, first, math.min(first + CHUNK - 1, #list)))
  end
end

-- Add members of a list, from one position to another, to a partition's index.
local function add_members(key, list, first, last)
  local adds = {}
  for i = first, last do
    adds[#adds + 1] = '0'
    adds[#adds + 1] = list[i]
  end
  write('ZADD', key, adds)
end

-- Add the fields named, those that are there, with their values to a list.
local function append_fields(key, names, list)
  for first = 1, #names, CHUNK do
    local last = math.min(first + CHUNK - 1, #names)
    local values = redis.call('HMGET', key, unpack(names, first, last))
    for i = first, last do
      local value = values[i - first + 1]
      if value then
        list[#list + 1] = names[i]
        list[#list + 1] = value
      end
    end
  end
end

