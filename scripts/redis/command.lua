-- The table of commands, and what they have in common. The files in commands/ define them.
local resp = require "redis.resp"
local store = require "redis.store"

local failure = resp.failure

local command = {
    WRONG_KIND = failure "WRONGTYPE Operation against a key holding the wrong kind of value",
    NOT_INTEGER = failure "ERR value is not an integer or out of range",
    NOT_FLOAT = failure "ERR value is not a valid float",
    SYNTAX = failure "ERR syntax error",
    NO_KEY = failure "ERR no such key",

    INTEGER_MOST = 2 ^ 53 - 1, -- LuaJIT, Lua 5.1 and 5.2 lose digits of larger numbers
}

-- --- The table ------------------------------------------------------------------------------------------

local by_name, count = {}, 0

local function add(known)
    count = count + 1
    by_name[known.name], by_name[known.name:lower()] = known, known
end

-- A command that looks at data: run(db, words) answers the reply. The words begin with the name of the
-- command; there are from `least` to `most` of them, or, if that is false, any number.
function command.define(name, least, most, run)
    add { name = name, least = least, most = most, run = run }
end

-- One that may change data.
function command.define_write(name, least, most, run)
    add { name = name, least = least, most = most, run = run, writes = true }
end

-- One that is about the client or the server: run(server, client, words). Options: `writes`; `at_once`: in a
-- transaction it is done and not queued; `subscribed`: clients that have subscribed may use it.
function command.define_own(name, least, most, run, options)
    local known = { name = name, least = least, most = most, run = run, own = true }
    for key, value in pairs(options or {}) do known[key] = value end
    add(known)
end

-- Nil if there is none.
function command.find(name)
    return by_name[name] or by_name[name:upper()]
end

function command.count()
    return count
end

-- --- Replies --------------------------------------------------------------------------------------------

function command.wrong_count(name)
    return failure("ERR wrong number of arguments for '" .. name:lower() .. "' command")
end

function command.invalid_expiry(name)
    return failure("ERR invalid expire time in '" .. name:lower() .. "' command")
end

-- --- Words as numbers -----------------------------------------------------------------------------------

function command.to_integer(text)
    local n = text:find "^[-+]?%d+$" and tonumber(text)
    return n and n >= -command.INTEGER_MOST and n <= command.INTEGER_MOST and n or nil
end

-- The number in a value, nil for 0, plus `by`, nil for a word that was no number; or nil and a reply.
function command.sum(value, by, not_integer)
    if not by then return nil, command.NOT_INTEGER end
    local n = command.to_integer(value or "0")
    if not n then return nil, not_integer or command.NOT_INTEGER end
    n = n + by
    if n > command.INTEGER_MOST or n < -command.INTEGER_MOST then
        return nil, failure "ERR increment or decrement would overflow"
    end
    return n
end

-- --- Values of one kind ---------------------------------------------------------------------------------

-- The value of the key, nil if there is none; if it is of another kind nil and a reply.
function command.value_of(db, key, kind)
    local value = db:get(key)
    if value ~= nil and store.kind_of(value) ~= kind then return nil, command.WRONG_KIND end
    return value
end

-- As value_of; makes one that is not there.
function command.made(db, key, kind)
    local value, wrong = command.value_of(db, key, kind)
    if value or wrong then return value, wrong end
    value = store[kind]()
    db:put(key, value)
    return value
end

-- Whoever changed a list or hash says so; empty ones are not kept.
function command.changed(db, key, left)
    if left == 0 then
        db:remove(key)
    else
        db:touch(key)
    end
end

return command
