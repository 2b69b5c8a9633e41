-- UDP echo, server and client in one.
--   neap scripts/udp_echo.lua [--rcvbuf BYTES] [host:port]          the server
--   neap scripts/udp_echo.lua --client host:port [COUNT]     sends COUNT datagrams and counts what comes back
local neap = require "neap"

local USAGE = [[
usage: neap scripts/udp_echo.lua [--rcvbuf BYTES] [HOST:PORT]
       neap scripts/udp_echo.lua --client HOST:PORT [COUNT]

The server (default 127.0.0.1:9527) sends each datagram back to its sender. At its end it tells how many, and how
many found no room in the queue of its socket because it was too slow; --rcvbuf makes that queue larger or smaller.
The client sends COUNT (default 1000) datagrams, at most 64 of them unanswered, and ends with status 1 if one is lost.
]]

local WINDOW = 64 -- datagrams in flight
local PATIENCE = 1 -- seconds without an answer until those in flight count as lost

local function now()
    return neap.loop():time()
end

local function fail(text)
    io.stderr:write("udp_echo: ", text, "\n")
    neap.exit(2)
end

local function read_arguments(list)
    local given, i = { words = {} }, 1
    while list[i] do
        local word = list[i]
        if word == "--help" or word == "-h" then
            io.write(USAGE)
            neap.exit(0)
        elseif word == "--client" then
            given.client = true
        elseif word == "--rcvbuf" then
            i = i + 1
            given.rcvbuf = tonumber(list[i]) or fail "--rcvbuf needs a number of bytes"
        elseif word:sub(1, 1) == "-" then
            fail("there is no option " .. word .. " (--help tells those there are)")
        else
            given.words[#given.words + 1] = word
        end
        i = i + 1
    end
    return given
end

local function check(ok, err)
    return ok or fail(tostring(err))
end

local function serve(given)
    local sock = check(neap.udp())
    check(sock:bind(given.words[1] or "127.0.0.1:9527"))
    if given.rcvbuf then
        check(sock:setsockopt("rcvbuf", given.rcvbuf))
    end
    local echoed, failed, drops = 0, 0, 0
    neap.on_shutdown(function()
        drops = sock:getsockopt "drops"
        sock:close()
    end)
    print("listening on " .. sock:getsockname())
    io.stdout:flush()
    while not sock:closed() do
        local data, from = sock:recv_many(WINDOW, 65536)
        local sent, _, partial = 0, nil, nil
        if data then
            sent, _, partial = sock:send_many(data, from)
            failed = failed + (sent and 0 or #data - (partial or 0))
        end
        echoed = echoed + (sent or partial or 0)
    end
    print(("echoed %d, failed %d, dropped %d"):format(echoed, failed, drops))
end

local function ask(given)
    local count = tonumber(given.words[2] or 1000)
    if not given.words[1] or not count or count < 1 or count ~= math.floor(count) then
        fail "the client needs an address and a number of datagrams"
    end
    local sock = check(neap.udp())
    check(sock:connect(given.words[1]))
    local sent, answered, refused = 0, 0, 0
    local waiting, in_flight = {}, 0
    local start = now()

    local function send_more()
        local list = {}
        while in_flight < WINDOW and sent < count do
            sent, in_flight = sent + 1, in_flight + 1
            local text = ("datagram %d"):format(sent)
            list[#list + 1], waiting[text] = text, true
        end
        if list[1] and not sock:send_many(list) then
            refused = refused + 1
        end
    end

    while sent < count or in_flight > 0 do
        send_more()
        local data, err = neap.move_on(PATIENCE, sock.recv_many, sock, WINDOW)
        for _, text in ipairs(data or {}) do
            if waiting[text] then
                waiting[text] = nil
                answered, in_flight = answered + 1, in_flight - 1
            end
        end
        if not data then -- nobody is there, or nobody answers
            refused = refused + (err and 1 or 0)
            waiting, in_flight = {}, 0
        end
    end
    local seconds = now() - start
    print(("sent %d, answered %d, lost %d"):format(sent, answered, sent - answered))
    if refused > 0 then
        io.stderr:write("udp_echo: nobody listens on ", given.words[1], "\n")
    end
    io.stderr:write(("%.3f s\n"):format(seconds))
    sock:close()
    if answered < sent then
        neap.exit(1)
    end
end

local given = read_arguments(arg)
if given.client then
    ask(given)
else
    serve(given)
end
