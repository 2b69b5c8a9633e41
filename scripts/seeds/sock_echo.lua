-- How do the sock_* methods of the loop work?  An echo server over them: each gives a future.
-- usage: sock_echo.lua [host:port]
local neap = require "neap"
local address = (...) or "127.0.0.1:9527"

local function handler(loop, conn)
    while true do
        local msg = neap.await(loop:sock_recv(conn, 1024))
        if msg == "" then
            break
        end
        neap.await(loop:sock_sendall(conn, msg))
    end
    conn:close()
end

local function server(loop)
    local sock = neap.tcp()
    assert(sock:bind(address))
    assert(sock:listen(10))
    print("listening on " .. sock:getsockname())
    io.stdout:flush()
    while true do
        local conn = neap.await(loop:sock_accept(sock))
        loop:create_task(handler, loop, conn)
    end
end

local function main()
    server(neap.loop())
end

if neap.current_task() then
    main()
else
    neap.run { main, signals = true }
end
