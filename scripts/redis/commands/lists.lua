-- Commands on lists.
local command = require "redis.command"
local resp = require "redis.resp"

local define, define_write, to_integer = command.define, command.define_write, command.to_integer
local value_of, made, changed = command.value_of, command.made, command.changed
local bulk, integer, failure, list = resp.bulk, resp.integer, resp.failure, resp.list
local OK, NONE, ZERO = resp.OK, resp.NONE, resp.ZERO
local NOT_INTEGER, SYNTAX, NO_KEY = command.NOT_INTEGER, command.SYNTAX, command.NO_KEY

local function push(side, only_there)
    return function(db, words)
        local value, wrong = value_of(db, words[2], "list")
        if wrong then return wrong end
        if not value then
            if only_there then return ZERO end
            value = made(db, words[2], "list")
        end
        for i = 3, #words do value[side](value, words[i]) end
        changed(db, words[2])
        return integer(value:len())
    end
end

define_write("LPUSH", 3, false, push("push_left"))
define_write("RPUSH", 3, false, push("push_right"))
define_write("LPUSHX", 3, false, push("push_left", true))
define_write("RPUSHX", 3, false, push("push_right", true))

local function pop(side)
    return function(db, words)
        local value, wrong = value_of(db, words[2], "list")
        if wrong then return wrong end
        local count = words[3] and to_integer(words[3])
        if words[3] and (not count or count < 0) then return failure "ERR value is out of range, must be positive" end
        if not value then return words[3] and resp.NO_LIST or NONE end
        local taken = {}
        for i = 1, math.min(count or 1, value:len()) do
            local text = value[side](value)
            taken[i] = text
        end
        changed(db, words[2], value:len())
        return count and list(taken) or bulk(taken[1])
    end
end

define_write("LPOP", 2, 3, pop "pop_left")
define_write("RPOP", 2, 3, pop "pop_right")

define("LLEN", 2, 2, function(db, words)
    local value, wrong = value_of(db, words[2], "list")
    return wrong or integer(value and value:len() or 0)
end)

define("LINDEX", 3, 3, function(db, words)
    local value, wrong = value_of(db, words[2], "list")
    local index = to_integer(words[3])
    if wrong or not index then return wrong or NOT_INTEGER end
    return bulk(value and value[value:at(index)])
end)

define("LRANGE", 4, 4, function(db, words)
    local value, wrong = value_of(db, words[2], "list")
    local start, stop = to_integer(words[3]), to_integer(words[4])
    if wrong or not start or not stop then return wrong or NOT_INTEGER end
    if not value then return list {} end
    local out, n = {}, 0
    local from, to = value:range(start, stop)
    for i = from, to do
        n = n + 1
        out[n] = value[i]
    end
    return list(out, n)
end)

define_write("LSET", 4, 4, function(db, words)
    local value, wrong = value_of(db, words[2], "list")
    local index = to_integer(words[3])
    if wrong or not index then return wrong or NOT_INTEGER end
    if not value then return NO_KEY end
    if value[value:at(index)] == nil then return failure "ERR index out of range" end
    value[value:at(index)] = words[4]
    changed(db, words[2])
    return OK
end)

define_write("LTRIM", 4, 4, function(db, words)
    local value, wrong = value_of(db, words[2], "list")
    local start, stop = to_integer(words[3]), to_integer(words[4])
    if wrong or not start or not stop then return wrong or NOT_INTEGER end
    if not value then return OK end
    local from, to = value:range(start, stop)
    local kept = {}
    for i = from, to do kept[#kept + 1] = value[i] end
    value:refill(kept)
    changed(db, words[2], #kept)
    return OK
end)

-- Removes `count` occurrences from the front, from the back (negative), or all (0).
define_write("LREM", 4, 4, function(db, words)
    local value, wrong = value_of(db, words[2], "list")
    local count = to_integer(words[3])
    if wrong or not count then return wrong or NOT_INTEGER end
    if not value then return ZERO end
    local from, to, step = value.first, value.last, 1
    if count < 0 then from, to, step = to, from, -1 end
    local gone, most = {}, count == 0 and math.huge or math.abs(count)
    local n = 0
    for i = from, to, step do
        if n < most and value[i] == words[4] then
            gone[i] = true
            n = n + 1
        end
    end
    local kept = {}
    for i = value.first, value.last do
        if not gone[i] then kept[#kept + 1] = value[i] end
    end
    value:refill(kept)
    changed(db, words[2], #kept)
    return integer(n)
end)

define_write("LINSERT", 5, 5, function(db, words)
    local where = words[3]:upper()
    if where ~= "BEFORE" and where ~= "AFTER" then return SYNTAX end
    local value, wrong = value_of(db, words[2], "list")
    if wrong then return wrong end
    if not value then return ZERO end
    local texts, found = {}, false
    for i = value.first, value.last do
        local here = not found and value[i] == words[4]
        if here and where == "BEFORE" then texts[#texts + 1] = words[5] end
        texts[#texts + 1] = value[i]
        if here and where == "AFTER" then texts[#texts + 1] = words[5] end
        found = found or here
    end
    if not found then return integer(-1) end
    value:refill(texts)
    changed(db, words[2])
    return integer(#texts)
end)

define_write("RPOPLPUSH", 3, 3, function(db, words)
    local from, wrong = value_of(db, words[2], "list")
    if wrong then return wrong end
    if not from then return NONE end
    local to, other_wrong = made(db, words[3], "list")
    if not to then return other_wrong end
    local text = from:pop_right()
    to:push_left(text)
    changed(db, words[3])
    changed(db, words[2], from:len())
    return bulk(text)
end)
