-- SPDX-License-Identifier: Apache-2.0
-- prewrite.lua: stage one partition's mutations as intents, all or none.
-- Writes. Uses prelude.lua.
-- KEYS[1] partition, KEYS[2] what became of the transaction here, KEYS[3]
-- the partition's index (only if there are members to add).
-- ARGV[1] transaction id (16 bytes), ARGV[2] number n of mutations; n
-- times: field, expected version ("": absent), intent; then index members
-- to add.
-- An intent is stored behind the start of its life: 16 digits, ms by this
-- server's clock. It begins: transaction id, op as in commit.lua, the new
-- version (8 bytes).
-- Returns "s" staged (also when they are staged or applied already); "a"
-- rolled back already; "av" and the numbers of the mutations whose version
-- differs; "af" and the floor. Or a list: number of a mutation (from 0),
-- another transaction's intent in its way, ... Idempotent. O(mutations and
-- index members).

local ID, OP, VERSION = 17, 33, 34

local outcome = redis.call('GET', KEYS[2])
if outcome then
  return string.sub(outcome, 1, 1) == 'c' and 's' or 'a'
end

local HEADER = 2
local count = tonumber(ARGV[2])
local floor = nil
local differing = {}
local refused = false
local blocking = {}
local now = string.format('%016.0f', read_clock())
local puts = {}

for first = 0, count - 1, CHUNK / 2 do
  local last = math.min(first + CHUNK / 2, count) - 1
  local names = {}
  for i = first, last do
    local field = ARGV[HEADER + 3 * i + 1]
    names[#names + 1] = field
    names[#names + 1] = 'i' .. field
  end
  local stored = redis.call('HMGET', KEYS[1], unpack(names))
  for i = first, last do
    local at = HEADER + 3 * i
    local cell = stored[2 * (i - first) + 1]
    local other = stored[2 * (i - first) + 2]
    local intent = now .. ARGV[at + 3]
    if other and string.sub(other, ID, OP - 1) == ARGV[1] then
      return 's'
    elseif other then
      blocking[#blocking + 1] = i
      blocking[#blocking + 1] = other
    elseif (cell and string.sub(cell, 1, 8) or '') ~= ARGV[at + 2] then
      differing[#differing + 1] = i
    elseif string.sub(intent, OP, OP) == 'P' then
      floor = floor or read_floor(KEYS[1])
      refused = refused
        or not above(string.sub(intent, VERSION, VERSION + 7), floor)
    end
    puts[#puts + 1] = names[2 * (i - first) + 2]
    puts[#puts + 1] = intent
  end
end

if #differing > 0 then
  return 'av' .. table.concat(differing, ',')
elseif refused then
  return 'af' .. floor
elseif #blocking > 0 then
  return blocking
end

write('HSET', KEYS[1], puts)
if KEYS[3] then
  add_members(KEYS[3], ARGV, HEADER + 3 * count + 1, #ARGV)
end
return 's'
