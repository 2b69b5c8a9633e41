-- An echo server whose tasks say what they wait for by yielding a descriptor and a word, as in the lecture that built
-- an event loop from coroutines and select.  The loop that was under it there is neap's here.
-- usage: curio_echo.lua [host:port]
local neap = require "neap"

local function create_server(address)
    local s = neap.tcp()
    assert(s:bind(address))
    assert(s:listen(5))
    print("listening on " .. s:getsockname())
    return s
end

local function handle_client(c, address)
    while true do
        print("yielding for read client " .. address)
        coroutine.yield(c, "read")
        local data = c:try_recv(1024)
        if data == "" then
            c:close()
            return "Connection Closed"
        end
        print("yielding for write on client " .. address)
        while #data > 0 do -- a send may take a part
            coroutine.yield(c, "write")
            local n = assert(c:try_send(data))
            data = data:sub(n + 1)
        end
    end
end

local function handle_clients(s)
    while true do
        print("yielding for read on server " .. s:getsockname())
        coroutine.yield(s, "read")
        local c, address = s:try_accept()
        if c then -- it may have gone again
            local t = neap.spawn(handle_client, c, address)
            print "appending a client handler"
            t:add_done_callback(function()
                print(t:result())
            end)
        end
    end
end

local function main(address)
    io.stdout:setvbuf "line"
    handle_clients(create_server(address or "127.0.0.1:9000"))
end

if neap.current_task() then
    main(...)
else
    neap.run { main, (...), signals = true }
end
