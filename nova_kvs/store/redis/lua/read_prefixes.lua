-- SPDX-License-Identifier: Apache-2.0
-- read_prefixes.lua: the fields of a partition that start with a prefix.
-- Reads. Uses prelude.lua.
-- KEYS[1] partition; ARGV prefixes, of records and of unique keys.
-- Returns field, value, ... of the floor and of what starts with a prefix,
-- or is an intent on such a field. O(fields of the partition * prefixes).

local byte, sub = string.byte, string.sub
local names = {'f'}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local start = byte(name) == 105 and 2 or 1
  -- Most tables differ in it, and a string is dearer to make than a byte.
  local second = byte(name, start + 1)
  for i = 1, #ARGV do
    local prefix = ARGV[i]
    if byte(prefix, 2) == second
        and sub(name, start, start + #prefix - 1) == prefix then
      names[#names + 1] = name
      break
    end
  end
end
local answer = {}
append_fields(KEYS[1], names, answer)
return answer
