-- cqueues' echo: one coroutine per connection, binary and unbuffered.
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local function quiet(_, _, code)
    return code -- errors come back as return values; a reset connection must not end the server
end

local function serve(conn)
    conn:setmode("bn", "bn")
    conn:onerror(quiet)
    while true do
        local data = conn:read(-65536)
        if not data or not conn:write(data) then break end
    end
    conn:close()
end

local queue = cqueues.new()
local server = socket.listen { host = "127.0.0.1", port = 0, backlog = 4096 }
server:onerror(quiet)
assert(server:listen())
queue:wrap(function()
    while true do
        local conn = server:accept { nodelay = true } -- an accepted socket does not inherit it
        if conn then queue:wrap(serve, conn) end
    end
end)
local _, _, port = server:localname()
print(port)
io.stdout:flush()
while true do
    local ok, err = queue:loop()
    if ok then break end
    io.stderr:write(tostring(err), "\n")
end
