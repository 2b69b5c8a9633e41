-- A client for servers such as echo_server.lua: sends what it reads to the server, and prints what comes back. Both
-- happen at the same time, so neither side waits for the other to be done.
local USAGE = [[
usage: neap scripts/echo_client.lua [ADDRESS]
  ADDRESS           HOST:PORT, or the path of a Unix socket (default 127.0.0.1:9527)
Sends its standard input, tells the server where that ends, and prints what the server answers until it hangs up.
]]
local neap = require "neap"

local function copy(from, to)
    local data, err = from:read_some()
    while data do
        assert(to:write(data))
        data, err = from:read_some()
    end
    assert(not err, err)
end

local function converse(server)
    neap.group(function(group)
        local sender = group:spawn(function()
            copy(neap.stdin, server)
            assert(server:write_eof())
        end)
        copy(server, neap.stdout)
        sender:cancel() -- the server has hung up: nobody waits for the rest of the input
    end)
    assert(neap.stdout:drain()) -- a pipe may be full
end

if #arg > 1 or arg[1] and arg[1]:find "^%-" then
    local help = arg[1] == "--help";
    (help and io.stdout or io.stderr):write(USAGE)
    neap.exit(help and 0 or 2)
end

local server, err = neap.connect(arg[1] or "127.0.0.1:9527")
local ok = server ~= nil
if ok then
    ok, err = neap.pcall(converse, server)
    if ok and server:unsent() == 0 then server:close() else server:abort() end
end
if not ok then
    if neap.is_cancelled(err) then error(err, 0) end
    io.stderr:write("echo_client: ", tostring(err.errors and err.errors[1] or err), "\n")
    neap.exit(1)
end
