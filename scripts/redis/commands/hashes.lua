-- Commands on hashes.
local command = require "redis.command"
local resp = require "redis.resp"

local define, define_write, to_integer = command.define, command.define_write, command.to_integer
local value_of, made, changed = command.value_of, command.made, command.changed
local bulk, integer, list = resp.bulk, resp.integer, resp.list
local OK, ZERO, ONE = resp.OK, resp.ZERO, resp.ONE

local HASH_NOT_INTEGER = resp.failure "ERR hash value is not an integer"

local function set_fields(db, words)
    if #words % 2 == 1 then return nil, command.wrong_count(words[1]) end
    local value, wrong = made(db, words[2], "hash")
    if not value then return nil, wrong end
    local n = 0
    for i = 3, #words, 2 do
        if value:set(words[i], words[i + 1]) then n = n + 1 end
    end
    changed(db, words[2])
    return n
end

define_write("HSET", 4, false, function(db, words)
    local n, wrong = set_fields(db, words)
    return n and integer(n) or wrong
end)

define_write("HMSET", 4, false, function(db, words)
    local n, wrong = set_fields(db, words)
    return n and OK or wrong
end)

define_write("HSETNX", 4, 4, function(db, words)
    local value, wrong = made(db, words[2], "hash")
    if not value then return wrong end
    if value.fields[words[3]] ~= nil then return ZERO end
    value:set(words[3], words[4])
    changed(db, words[2])
    return ONE
end)

define("HGET", 3, 3, function(db, words)
    local value, wrong = value_of(db, words[2], "hash")
    return wrong or bulk(value and value.fields[words[3]])
end)

define("HMGET", 3, false, function(db, words)
    local value, wrong = value_of(db, words[2], "hash")
    if wrong then return wrong end
    local out = {}
    for i = 3, #words do out[i - 2] = value and value.fields[words[i]] or false end
    return list(out)
end)

-- Fields, values, or both.
local function all_of(fields, values)
    return function(db, words)
        local value, wrong = value_of(db, words[2], "hash")
        if wrong then return wrong end
        local out = {}
        for field, text in pairs(value and value.fields or {}) do
            if fields then out[#out + 1] = field end
            if values then out[#out + 1] = text end
        end
        return list(out)
    end
end

define("HGETALL", 2, 2, all_of(true, true))
define("HKEYS", 2, 2, all_of(true, false))
define("HVALS", 2, 2, all_of(false, true))

define("HLEN", 2, 2, function(db, words)
    local value, wrong = value_of(db, words[2], "hash")
    return wrong or integer(value and value.n or 0)
end)

define("HEXISTS", 3, 3, function(db, words)
    local value, wrong = value_of(db, words[2], "hash")
    return wrong or value and value.fields[words[3]] ~= nil and ONE or ZERO
end)

define_write("HDEL", 3, false, function(db, words)
    local value, wrong = value_of(db, words[2], "hash")
    if wrong then return wrong end
    if not value then return ZERO end
    local n = 0
    for i = 3, #words do
        if value:remove(words[i]) then n = n + 1 end
    end
    changed(db, words[2], value.n)
    return integer(n)
end)

define_write("HINCRBY", 4, 4, function(db, words)
    local value, wrong = value_of(db, words[2], "hash")
    if wrong then return wrong end
    local n
    n, wrong = command.sum(value and value.fields[words[3]], to_integer(words[4]), HASH_NOT_INTEGER)
    if not n then return wrong end
    made(db, words[2], "hash"):set(words[3], ("%d"):format(n))
    changed(db, words[2])
    return integer(n)
end)
