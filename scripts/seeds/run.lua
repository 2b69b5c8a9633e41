-- What does run do?  Makes a loop, runs one function on it to its end, closes it.
local neap = require "neap"

local function run(main, ...)
    if neap.current_task() then -- the neap command runs a loop already, and a state runs one at a time
        return neap.await(neap.spawn(main, ...))
    end
    local loop = neap.new_loop()
    local args = { ... }
    local ok, result = pcall(loop.run_until_complete, loop, function()
        return main((table.unpack or unpack)(args))
    end)
    loop:close()
    if not ok then
        error(result, 0)
    end
    return result
end

-- Asks the kernel for a port of its own; stands for the address look-up of the original.
local function free_address(host)
    local s = neap.tcp()
    assert(s:bind(host .. ":0"))
    neap.sleep(0)
    local address = s:getsockname()
    s:close()
    return (address:gsub(":%d+$", ":port"))
end

print("by hand:  " .. run(free_address, "127.0.0.1"))
if neap.current_task() then
    local _, err = pcall(neap.run, free_address, "127.0.0.1")
    print("neap.run: " .. err.code .. " here, for the command has called it")
else
    print("neap.run: " .. neap.run(free_address, "127.0.0.1"))
end
