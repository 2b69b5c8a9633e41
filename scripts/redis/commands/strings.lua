-- Commands on strings, which may be numbers.
local command = require "redis.command"
local resp = require "redis.resp"

local define, define_write, to_integer = command.define, command.define_write, command.to_integer
local value_of, invalid_expiry = command.value_of, command.invalid_expiry
local bulk, integer, failure, list = resp.bulk, resp.integer, resp.failure, resp.list
local OK, NONE, ZERO, ONE = resp.OK, resp.NONE, resp.ZERO, resp.ONE
local WRONG_KIND, NOT_INTEGER, NOT_FLOAT = command.WRONG_KIND, command.NOT_INTEGER, command.NOT_FLOAT
local SYNTAX, INTEGER_MOST = command.SYNTAX, command.INTEGER_MOST

define("GET", 2, 2, function(db, words)
    local value = db:get(words[2])
    if value ~= nil and type(value) ~= "string" then return WRONG_KIND end
    return bulk(value)
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
            if n <= 0 or n * units[word] > INTEGER_MOST then return nil, invalid_expiry "SET" end
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
        if n <= 0 or n * unit > INTEGER_MOST then return invalid_expiry(name) end
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
    if #words % 2 == 0 then return command.wrong_count "MSET" end
    set_all(db, words)
    return OK
end)

define_write("MSETNX", 3, false, function(db, words)
    if #words % 2 == 0 then return command.wrong_count "MSETNX" end
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
    local n
    n, wrong = command.sum(value, by)
    if not n then return wrong end
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

local function to_float(text)
    return text:match "^[-+.%deE]+$" and tonumber(text)
end

-- As few digits as tell the number from all others.
local function float_text(n)
    if n % 1 == 0 and n > -INTEGER_MOST and n < INTEGER_MOST then return ("%d"):format(n) end
    local short = ("%.15g"):format(n)
    return tonumber(short) == n and short or ("%.17g"):format(n)
end

define_write("INCRBYFLOAT", 3, 3, function(db, words)
    local value, wrong = value_of(db, words[2], "string")
    if wrong then return wrong end
    local n, by = to_float(value or "0"), to_float(words[3])
    if not n or not by then return NOT_FLOAT end
    local sum = n + by
    if sum ~= sum or sum == math.huge or sum == -math.huge then
        return failure "ERR increment would produce NaN or Infinity"
    end
    local text = float_text(sum)
    db:put(words[2], text)
    return bulk(text)
end)
