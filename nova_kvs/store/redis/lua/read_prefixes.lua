-- SPDX-License-Identifier: Apache-2.0
-- read_prefixes.lua: the fields of a partition that start with a prefix.
-- Reads. Uses prelude.lua.
-- KEYS[1] partition; ARGV prefixes, of records and of unique keys.
-- Returns field, value, ... of the floor and of what starts with a prefix,
-- or is an intent on such a field. O(fields of the partition), and of those
-- whose table's name has the same length and last byte as a prefix's.

local byte, find, sub = string.byte, string.find, string.sub
-- Strings are dear to make: so bytes first.
local ends = {}
for i = 1, #ARGV do
  local stop = find(ARGV[i], '\0', 1, true) or #ARGV[i]
  local of_length = ends[stop] or {}
  ends[stop] = of_length
  of_length[#of_length + 1] = ARGV[i]
end
local names = {'f'}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local start = byte(name) == 105 and 2 or 1
  local stop = find(name, '\0', start, true)
  local of_length = stop and ends[stop - start + 1]
  if of_length then
    for i = 1, #of_length do
      local prefix = of_length[i]
      if sub(name, start, start + #prefix - 1) == prefix then
        names[#names + 1] = name
        break
      end
    end
  end
end
local answer = {}
append_fields(KEYS[1], names, answer)
return answer
