-- Commands on keys of any kind, and their deadlines.
local command = require "redis.command"
local resp = require "redis.resp"
local glob = require "redis.glob"
local store = require "redis.store"

local define, define_write, to_integer = command.define, command.define_write, command.to_integer
local bulk, integer, list = resp.bulk, resp.integer, resp.list
local OK, ZERO, ONE = resp.OK, resp.ZERO, resp.ONE
local NOT_INTEGER, SYNTAX, NO_KEY = command.NOT_INTEGER, command.SYNTAX, command.NO_KEY
local INTEGER_MOST, invalid_expiry = command.INTEGER_MOST, command.invalid_expiry

local function del(db, words)
    local n = 0
    for i = 2, #words do
        if db:get(words[i]) ~= nil then
            db:remove(words[i])
            n = n + 1
        end
    end
    return integer(n)
end

define_write("DEL", 2, false, del)
define_write("UNLINK", 2, false, del)

define("EXISTS", 2, false, function(db, words)
    local n = 0
    for i = 2, #words do
        if db:get(words[i]) ~= nil then n = n + 1 end
    end
    return integer(n)
end)

define("TYPE", 2, 2, function(db, words)
    return "+" .. store.kind_of(db:get(words[2])) .. "\r\n"
end)

define("KEYS", 2, 2, function(db, words)
    return list(db:keys(glob(words[2])))
end)

-- The cursor comes back at once: a store in memory can show all its keys in one answer.
define("SCAN", 2, false, function(db, words)
    local pattern, kind = "*", nil
    for i = 3, #words, 2 do
        local option = words[i + 1] and words[i]:upper()
        if option == "MATCH" then
            pattern = words[i + 1]
        elseif option == "TYPE" then
            kind = words[i + 1]:lower()
        elseif option ~= "COUNT" then
            return SYNTAX
        end
    end
    local found = {}
    for _, key in ipairs(db:keys(glob(pattern))) do
        if not kind or store.kind_of(db:get(key)) == kind then found[#found + 1] = key end
    end
    return resp.replies { bulk "0", list(found) }
end)

define("DBSIZE", 1, 1, function(db)
    return integer(db.size)
end)

define_write("FLUSHDB", 1, 2, function(db)
    db:clear()
    return OK
end)

local function rename(db, from, to)
    local value, deadline = db:get(from), db.deadlines[from]
    db:remove(from)
    db:set(to, value)
    db:set_deadline(to, deadline)
end

define_write("RENAME", 3, 3, function(db, words)
    if db:get(words[2]) == nil then return NO_KEY end
    if words[2] ~= words[3] then rename(db, words[2], words[3]) end
    return OK
end)

define_write("RENAMENX", 3, 3, function(db, words)
    if db:get(words[2]) == nil then return NO_KEY end
    if db:get(words[3]) ~= nil then return ZERO end
    rename(db, words[2], words[3])
    return ONE
end)

-- --- Expiry -----------------------------------------------------------------------------------------------

local function expires(db, key, deadline)
    if db:get(key) == nil then return ZERO end
    if deadline <= db.clock() then
        db:remove(key)
    else
        db:set_deadline(key, deadline)
        db:touch(key)
    end
    return ONE
end

for name, unit in pairs { EXPIRE = 1000, PEXPIRE = 1, EXPIREAT = 1000, PEXPIREAT = 1 } do
    local is_relative = name:sub(-2) ~= "AT"
    define_write(name, 3, 3, function(db, words)
        local n = to_integer(words[3])
        if not n then return NOT_INTEGER end
        local deadline = n * unit + (is_relative and db.clock() or 0)
        if deadline > INTEGER_MOST or deadline < -INTEGER_MOST then return invalid_expiry(name) end
        return expires(db, words[2], deadline)
    end)
end

for name, unit in pairs { TTL = 1000, PTTL = 1 } do
    define(name, 2, 2, function(db, words)
        if db:get(words[2]) == nil then return integer(-2) end
        local deadline = db.deadlines[words[2]]
        return integer(deadline and math.floor((deadline - db.clock()) / unit + 0.5) or -1)
    end)
end

define_write("PERSIST", 2, 2, function(db, words)
    if db:get(words[2]) == nil or not db.deadlines[words[2]] then return ZERO end
    db:set_deadline(words[2], nil)
    db:touch(words[2])
    return ONE
end)
