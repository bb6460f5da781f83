-- SPDX-License-Identifier: Apache-2.0
-- read_index.lua: members of a partition's index and the records they name.
-- Reads. Uses prelude.lua.
-- KEYS[1] partition, KEYS[2] its index. ARGV[1] greatest number of members
-- ("-1": no limit), ARGV[2] "ZRANGEBYLEX", or "ZREVRANGEBYLEX" for the
-- reverse order; then for each range the bounds in that command's order.
-- A member ends with a field and the field's length (2 bytes big-endian).
-- Returns {members, {field, value, ...}}: the floor, the records named and
-- the intents on them. O(members * log(index) + bytes returned).

local limit = tonumber(ARGV[1])
local members = {}
for i = 3, #ARGV, 2 do
  local found
  if limit < 0 then
    found = redis.call(ARGV[2], KEYS[2], ARGV[i], ARGV[i + 1])
  else
    found = redis.call(ARGV[2], KEYS[2], ARGV[i], ARGV[i + 1],
                       'LIMIT', 0, limit - #members)
  end
  for _, member in ipairs(found) do
    members[#members + 1] = member
  end
  if #members == limit then
    break
  end
end

local names = {'f'}
local seen = {}
for _, member in ipairs(members) do
  local high, low = string.byte(member, -2, -1)
  local field = string.sub(member, -2 - (high * 256 + low), -3)
  if not seen[field] then
    seen[field] = true
    names[#names + 1] = field
    names[#names + 1] = 'i' .. field
  end
end
local pairs_found = {}
append_fields(KEYS[1], names, pairs_found)
return {members, pairs_found}
