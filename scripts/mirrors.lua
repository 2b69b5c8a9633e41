-- A race of mirrors: asks one after the other, a little apart, until one has delivered; the others are told to stop.
--   neap scripts/mirrors.lua host:port...
-- Without arguments it serves three mirrors itself: one that refuses, one that is slow, one that is quick.
local neap = require "neap"

local APART = 0.05 -- seconds after which the next mirror is asked as well
local DEADLINE = 5

local function fetch(address)
    local conn, parts = neap.tcp(), {}
    local function exchange()
        assert(conn:connect(address))
        assert(conn:sendall "get\n")
        repeat
            local data, err = conn:recv(65536)
            assert(not err, err)
            parts[#parts + 1] = data
        until not data
        return table.concat(parts)
    end
    local ok, text = pcall(exchange)
    conn:close() -- also if another one was quicker
    if not ok then
        error(text, 0)
    end
    return text
end

-- The first mirror that delivers, and what. The next is asked when the one before has failed or takes long.
local function race(addresses)
    return neap.timeout(DEADLINE, neap.group, function(group)
        for _, address in ipairs(addresses) do
            local failed = neap.event()
            group:spawn(function()
                local ok, text = pcall(fetch, address)
                if ok then
                    return address, text
                end
                failed:set()
                error(text, 0)
            end)
            neap.move_on(APART, failed.wait, failed)
        end
    end, { policy = "any" })
end

-- --- Mirrors to try it with ---------------------------------------------------------------------

local function make_mirror(seconds, text)
    local listener = neap.tcp()
    assert(listener:bind "127.0.0.1:0")
    assert(listener:listen())
    neap.spawn(function()
        while true do
            local conn = assert(listener:accept())
            neap.spawn {
                function()
                    conn:recv(100)
                    neap.sleep(seconds)
                    conn:sendall(text)
                    conn:close()
                end,
                owns = { conn },
            }
        end
    end)
    return listener:getsockname()
end

local function make_refusing_mirror()
    local sock = neap.tcp()
    assert(sock:bind "127.0.0.1:0") -- nobody listens
    return sock:getsockname()
end

local addresses = { (table.unpack or unpack)(arg or {}) } -- luacheck: ignore 143
local own = #addresses == 0
if own then
    addresses = { make_refusing_mirror(), make_mirror(60, "from the slow one"), make_mirror(0, "from the quick one") }
end
local address, text = race(addresses)
print(own and "" or address, text)
