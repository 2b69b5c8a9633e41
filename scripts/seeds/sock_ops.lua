-- The three operations behind sock_echo.lua, written in Lua over add_reader, add_writer and create_future: try, and if
-- it would block, try again when the descriptor is ready.
-- usage: sock_ops.lua [host:port], or local ops = dofile "sock_ops.lua"
local neap = require "neap"

local ops = {}

-- The future of an operation that starts now.  If it is cancelled, nobody watches the descriptor for it any more.
local function start(loop, remove, sock)
    local future = loop:create_future()
    future:add_done_callback(function()
        if future:cancelled() and sock:fileno() then
            loop[remove](loop, sock)
        end
    end)
    return future
end

function ops.sock_accept(loop, sock, future)
    if future then
        loop:remove_reader(sock)
    else
        future = start(loop, "remove_reader", sock)
    end
    if future:done() then -- cancelled in this very tick: take nothing
        return future
    end
    local conn, address = sock:try_accept()
    if conn then
        future:set_result(conn, address)
    elseif address.code == "EAGAIN" then
        loop:add_reader(sock, ops.sock_accept, loop, sock, future)
    else
        future:set_exception(address)
    end
    return future
end

function ops.sock_recv(loop, sock, n, future)
    if future then
        loop:remove_reader(sock)
    else
        future = start(loop, "remove_reader", sock)
    end
    if future:done() then
        return future
    end
    local data, err = sock:try_recv(n)
    if data then
        future:set_result(data)
    elseif err.code == "EAGAIN" then
        loop:add_reader(sock, ops.sock_recv, loop, sock, n, future)
    else
        future:set_exception(err)
    end
    return future
end

function ops.sock_sendall(loop, sock, data, future)
    if future then
        loop:remove_writer(sock)
    else
        future = start(loop, "remove_writer", sock)
    end
    if future:done() then
        return future
    end
    local n, err = sock:try_send(data)
    if not n and err.code ~= "EAGAIN" then
        future:set_exception(err)
    elseif n == #data then
        future:set_result()
    else
        loop:add_writer(sock, ops.sock_sendall, loop, sock, data:sub((n or 0) + 1), future)
    end
    return future
end

local function handler(loop, conn)
    while true do
        local msg = neap.await(ops.sock_recv(loop, conn, 1024))
        if msg == "" then
            break
        end
        neap.await(ops.sock_sendall(loop, conn, msg))
    end
    conn:close()
end

local function main(address)
    local loop = neap.loop()
    local sock = neap.tcp()
    assert(sock:bind(address or "127.0.0.1:9527"))
    assert(sock:listen(10))
    print("listening on " .. sock:getsockname())
    io.stdout:flush()
    while true do
        local conn = neap.await(ops.sock_accept(loop, sock))
        loop:create_task(handler, loop, conn)
    end
end

if not (arg and arg[0] and arg[0]:find "sock_ops%.lua$") then
    return ops
elseif neap.current_task() then
    main(...)
else
    neap.run { main, (...), signals = true }
end
