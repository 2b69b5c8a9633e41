-- copas' echo. Debian installs copas for Lua 5.1 only; it is plain Lua and runs on 5.4 as well.
package.path = package.path .. ";/usr/share/lua/5.1/?.lua"
local socket = require "socket"
local copas = require "copas"

local server = assert(socket.bind("127.0.0.1", 0, 1024))
copas.addserver(server, function(skt)
    skt:setoption("tcp-nodelay", true)
    while true do
        local data, err, part = copas.receivePartial(skt, 65536)
        data = data or part
        if not data or data == "" then break end
        if not copas.send(skt, data) or err == "closed" then break end
    end
end)
print((select(2, server:getsockname())))
io.stdout:flush()
copas.loop()
