-- luv's echo as its own example has it: callbacks, one write request per chunk.
local uv = require "luv"

local server = uv.new_tcp()
assert(server:bind("127.0.0.1", 0))
assert(server:listen(4096, function(err)
    assert(not err, err)
    local client = uv.new_tcp()
    server:accept(client)
    client:nodelay(true)
    client:read_start(function(read_err, chunk)
        if chunk then
            client:write(chunk)
        elseif not client:is_closing() then
            client:close()
        end
        return read_err
    end)
end))
print(server:getsockname().port)
io.stdout:flush()
uv.run()
