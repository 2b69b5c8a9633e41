-- What clients can ask of the data: each command gets the store and the words of the request and answers the reply. Commands
-- of connections and of the server as a whole are in server.lua.
local resp = require "redis.resp"
local store = require "redis.store"

local bulk, integer, failure, list = resp.bulk, resp.integer, resp.failure, resp.list
local OK, NONE, ZERO, ONE = resp.OK, resp.NONE, resp.ZERO, resp.ONE

local WRONG_KIND = failure "WRONGTYPE Operation against a key holding the wrong kind of value"
local NOT_INTEGER = failure "ERR value is not an integer or out of range"
local NOT_FLOAT = failure "ERR value is not a valid float"
local SYNTAX = failure "ERR syntax error"
local NO_KEY = failure "ERR no such key"

local INTEGER_MOST = 2 ^ 53 -- beyond it LuaJIT and Lua 5.1 would lose digits

-- By name in upper case: { run, words at least, words at most or nil, writes }.
local commands = {}

local function define(name, least, most, run)
    commands[name] = { run = run, least = least, most = most or nil, writes = false }
end

local function define_write(name, least, most, run)
    commands[name] = { run = run, least = least, most = most or nil, writes = true }
end

-- --- Words as numbers -----------------------------------------------------------------------------------

local function to_integer(text)
    local n = text:match "^[-+]?%d+$" and tonumber(text)
    return n and n >= -INTEGER_MOST and n <= INTEGER_MOST and n or nil
end

local function to_float(text)
    local n = not text:match "%s" and tonumber(text)
    return n and n == n and n or nil
end

local function float_text(n)
    if n % 1 == 0 and n > -INTEGER_MOST and n < INTEGER_MOST then return ("%d"):format(n) end
    return ("%.17g"):format(n) == tostring(n) and tostring(n) or ("%.14g"):format(n)
end

-- --- Values of one kind ---------------------------------------------------------------------------------

-- The value of the key if it is of this kind or not there; else nil and a reply.
local function value_of(db, key, kind)
    local value = db:get(key)
    if value ~= nil and store.kind_of(value) ~= kind then return nil, WRONG_KIND end
    return value
end

-- As value_of; makes one that is not there.
local function made(db, key, kind)
    local value, wrong = value_of(db, key, kind)
    if value or wrong then return value, wrong end
    value = store[kind]()
    db:put(key, value)
    return value
end

-- Whoever changed a list or hash says so; empty ones are not kept.
local function changed(db, key, left)
    if left == 0 then
        db:remove(key)
    else
        db:touch(key)
    end
end

-- --- Keys -----------------------------------------------------------------------------------------------

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

-- A pattern of the shell as a function. A pattern of Lua has no alternatives but sets, which are the same.
local function matcher(glob)
    local pattern = glob:gsub("[%^%$%(%)%%%.%+%-]", "%%%0"):gsub("\\(.)", "%%%1"):gsub("%*+", ".*"):gsub("%?", ".")
        :gsub("%[%%%^", "[^"):gsub("(%[[^%]]-)%%%-", "%1-")
    pattern = "^" .. pattern .. "$"
    if not pcall(string.find, "", pattern) then pattern = "^" .. glob:gsub("%p", "%%%0") .. "$" end
    return function(text) return text:find(pattern) ~= nil end
end

commands.matcher = matcher

define("KEYS", 2, 2, function(db, words)
    return list(db:keys(matcher(words[2])))
end)

-- The cursor comes back at once: a store in memory can show all its keys in one answer.
define("SCAN", 2, false, function(db, words)
    local glob, kind = "*", nil
    for i = 3, #words - 1, 2 do
        local option = words[i]:upper()
        if option == "MATCH" then
            glob = words[i + 1]
        elseif option == "TYPE" then
            kind = words[i + 1]:lower()
        elseif option ~= "COUNT" then
            return SYNTAX
        end
    end
    local found = {}
    for _, key in ipairs(db:keys(matcher(glob))) do
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

-- --- Expiry ---------------------------------------------------------------------------------------------

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

for name, unit in pairs { EXPIRE = 1000, PEXPIRE = 1 } do
    define_write(name, 3, 3, function(db, words)
        local n = to_integer(words[3])
        return n and expires(db, words[2], db.clock() + n * unit) or NOT_INTEGER
    end)
end

for name, unit in pairs { EXPIREAT = 1000, PEXPIREAT = 1 } do
    define_write(name, 3, 3, function(db, words)
        local n = to_integer(words[3])
        return n and expires(db, words[2], n * unit) or NOT_INTEGER
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
    db.deadlines[words[2]] = nil
    db:touch(words[2])
    return ONE
end)

-- --- Strings --------------------------------------------------------------------------------------------

define("GET", 2, 2, function(db, words)
    local value = db:get(words[2])
    if value == nil then return NONE end
    if type(value) ~= "string" then return WRONG_KIND end
    return "$" .. #value .. "\r\n" .. value .. "\r\n"
end)

-- The options of SET: nx, xx, keep, get, deadline; or nil and a reply.
local function set_options(db, words)
    local o, units = {}, { EX = 1000, PX = 1, EXAT = 1000, PXAT = 1 }
    local i = 4
    while i <= #words do
        local word = words[i]:upper()
        if word == "NX" then
            o.nx = true
        elseif word == "XX" then
            o.xx = true
        elseif word == "KEEPTTL" then
            o.keep = true
        elseif word == "GET" then
            o.get = true
        elseif units[word] and words[i + 1] then
            local n = to_integer(words[i + 1])
            if not n then return nil, NOT_INTEGER end
            if n <= 0 then return nil, failure "ERR invalid expire time in 'set' command" end
            o.deadline = n * units[word] + (#word == 2 and db.clock() or 0)
            i = i + 1
        else
            return nil, SYNTAX
        end
        i = i + 1
    end
    if o.nx and o.xx or o.keep and o.deadline then return nil, SYNTAX end
    return o
end

define_write("SET", 3, false, function(db, words)
    local key = words[2]
    if not words[4] then
        db:set(key, words[3])
        return OK
    end
    local o, wrong = set_options(db, words)
    if not o then return wrong end
    local before = db:get(key)
    if o.get and before ~= nil and type(before) ~= "string" then return WRONG_KIND end
    if o.nx and before ~= nil or o.xx and before == nil then
        return o.get and bulk(before) or NONE
    end
    local deadline = o.keep and db.deadlines[key] or o.deadline
    db:set(key, words[3])
    if deadline then db:set_deadline(key, deadline) end
    return o.get and bulk(before) or OK
end)

define_write("SETNX", 3, 3, function(db, words)
    if db:get(words[2]) ~= nil then return ZERO end
    db:set(words[2], words[3])
    return ONE
end)

for name, unit in pairs { SETEX = 1000, PSETEX = 1 } do
    define_write(name, 4, 4, function(db, words)
        local n = to_integer(words[3])
        if not n then return NOT_INTEGER end
        if n <= 0 then return failure("ERR invalid expire time in '" .. name:lower() .. "' command") end
        db:set(words[2], words[4])
        db:set_deadline(words[2], db.clock() + n * unit)
        return OK
    end)
end

define_write("GETSET", 3, 3, function(db, words)
    local before, wrong = value_of(db, words[2], "string")
    if wrong then return wrong end
    db:set(words[2], words[3])
    return bulk(before)
end)

define_write("GETDEL", 2, 2, function(db, words)
    local before, wrong = value_of(db, words[2], "string")
    if wrong then return wrong end
    db:remove(words[2])
    return bulk(before)
end)

define("MGET", 2, false, function(db, words)
    local values = {}
    for i = 2, #words do
        local value = db:get(words[i])
        values[i - 1] = type(value) == "string" and value or false
    end
    return list(values)
end)

local function set_all(db, words)
    for i = 2, #words, 2 do db:set(words[i], words[i + 1]) end
end

define_write("MSET", 3, false, function(db, words)
    if #words % 2 == 0 then return failure "ERR wrong number of arguments for 'mset' command" end
    set_all(db, words)
    return OK
end)

define_write("MSETNX", 3, false, function(db, words)
    if #words % 2 == 0 then return failure "ERR wrong number of arguments for 'msetnx' command" end
    for i = 2, #words, 2 do
        if db:get(words[i]) ~= nil then return ZERO end
    end
    set_all(db, words)
    return ONE
end)

define_write("APPEND", 3, 3, function(db, words)
    local before, wrong = value_of(db, words[2], "string")
    if wrong then return wrong end
    local text = (before or "") .. words[3]
    db:put(words[2], text)
    return integer(#text)
end)

define("STRLEN", 2, 2, function(db, words)
    local value, wrong = value_of(db, words[2], "string")
    return wrong or integer(#(value or ""))
end)

define("GETRANGE", 4, 4, function(db, words)
    local value, wrong = value_of(db, words[2], "string")
    if wrong then return wrong end
    local from, to = to_integer(words[3]), to_integer(words[4])
    if not from or not to then return NOT_INTEGER end
    return bulk((value or ""):sub(from >= 0 and from + 1 or from, to >= 0 and to + 1 or to))
end)

define_write("SETRANGE", 4, 4, function(db, words)
    local value, wrong = value_of(db, words[2], "string")
    if wrong then return wrong end
    local offset, text = to_integer(words[3]), words[4]
    if not offset then return NOT_INTEGER end
    if offset < 0 or offset + #text > 512 * 1024 * 1024 then return failure "ERR offset is out of range" end
    value = value or ""
    if text == "" then return integer(#value) end
    local head = value:sub(1, offset)
    value = head .. ("\0"):rep(offset - #head) .. text .. value:sub(offset + #text + 1)
    db:put(words[2], value)
    return integer(#value)
end)

local function add(db, key, by)
    local value, wrong = value_of(db, key, "string")
    if wrong then return wrong end
    local n = to_integer(value or "0")
    if not n or not by then return NOT_INTEGER end
    n = n + by
    if n > INTEGER_MOST or n < -INTEGER_MOST then
        return failure "ERR increment or decrement would overflow"
    end
    db:put(key, ("%d"):format(n))
    return integer(n)
end

define_write("INCR", 2, 2, function(db, words) return add(db, words[2], 1) end)
define_write("DECR", 2, 2, function(db, words) return add(db, words[2], -1) end)
define_write("INCRBY", 3, 3, function(db, words) return add(db, words[2], to_integer(words[3])) end)
define_write("DECRBY", 3, 3, function(db, words)
    local n = to_integer(words[3])
    return add(db, words[2], n and -n)
end)

define_write("INCRBYFLOAT", 3, 3, function(db, words)
    local value, wrong = value_of(db, words[2], "string")
    if wrong then return wrong end
    local n, by = to_float(value or "0"), to_float(words[3])
    if not n or not by then return NOT_FLOAT end
    local text = float_text(n + by)
    db:put(words[2], text)
    return bulk(text)
end)

-- --- Lists ----------------------------------------------------------------------------------------------

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

-- --- Hashes ---------------------------------------------------------------------------------------------

local function set_fields(db, words)
    if #words % 2 == 1 then return nil, failure("ERR wrong number of arguments for '" .. words[1]:lower() .. "' command") end
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
    local by = to_integer(words[4])
    if not by then return NOT_INTEGER end
    local value, wrong = value_of(db, words[2], "hash")
    if wrong then return wrong end
    local n = to_integer(value and value.fields[words[3]] or "0")
    if not n then return failure "ERR hash value is not an integer" end
    n = n + by
    if n > INTEGER_MOST or n < -INTEGER_MOST then
        return failure "ERR increment or decrement would overflow"
    end
    made(db, words[2], "hash"):set(words[3], ("%d"):format(n))
    changed(db, words[2])
    return integer(n)
end)

return commands
