-- Tarantool's echo: its server starts a fiber per connection.
local socket = require "socket"

local function serve(conn)
    conn:setsockopt("IPPROTO_TCP", "TCP_NODELAY", 1)
    while conn:readable() do
        local data = conn:sysread(65536)
        if not data or data == "" or not conn:write(data) then break end
    end
end

local server = assert(socket.tcp_server("127.0.0.1", 0, { handler = serve, backlog = 4096 }))
print(server:name().port)
io.stdout:flush()
