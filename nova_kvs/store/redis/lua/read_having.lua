-- SPDX-License-Identifier: Apache-2.0
-- read_having.lua: members of an ordered set, those of some values.
-- Reads.
-- KEYS[1] the set. ARGV[1] "ZRANGEBYLEX" or "ZREVRANGEBYLEX", ARGV[2] and
-- ARGV[3] the bounds in that command's order, ARGV[4] length of the longest
-- encoded text that is surely whole. Then for each condition the place of its
-- value (0: the first), how many values pass, and these; if none is given,
-- what its text contains, in small letters. The lowest place is first.
-- A member begins with encoded values: 1 (NULL), 2 and ten bytes (a number),
-- or 3 or 4 and bytes up to 0, 1 (text). Returns members, in order.
-- O(log(set) + members in range).

local byte, find, sub, lower = string.byte, string.find, string.sub,
                               string.lower
local whole = tonumber(ARGV[4])
local tests = {}
local i = 5
while i <= #ARGV do
  local test = {place = tonumber(ARGV[i])}
  local count = tonumber(ARGV[i + 1])
  if count == 0 then
    test.part = ARGV[i + 2]
    count = 1
  else
    -- Most members do not have a text anywhere.
    test.only = count == 1 and byte(ARGV[i + 2]) == 3 and ARGV[i + 2]
    test.values = {}
    for j = i + 2, i + 1 + count do
      test.values[ARGV[j]] = true
    end
  end
  tests[#tests + 1] = test
  i = i + 2 + count
end

-- The position of the last byte of the value that begins at a position.
local function last_of(member, at)
  local kind = byte(member, at)
  if kind == 1 then
    return at
  elseif kind == 2 then
    return at + 10
  end
  local _, last = find(member, '\0\1', at + 1, true)
  return last
end

local function passes(member)
  local at, place = 1, 0
  for _, test in ipairs(tests) do
    if test.only and not find(member, test.only, 1, true) then
      return false
    end
    while place < test.place do
      at = last_of(member, at) + 1
      place = place + 1
    end
    local last = last_of(member, at)
    if test.values then
      if not test.values[sub(member, at, last)] then
        return false
      end
    else
      local kind = byte(member, at)
      if kind == 1 or kind == 3 and last - at < whole and not find(
          lower(sub(member, at, last)), test.part, 1, true) then
        return false
      end
    end
  end
  return true
end

local found = {}
for _, member in ipairs(redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3])) do
  if passes(member) then
    found[#found + 1] = member
  end
end
return found
