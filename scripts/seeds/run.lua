-- What does run do?  Makes a loop, runs one function on it to its end, closes it.  The function looks a name up.
-- usage: run.lua [host [port]]
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

local function getaddrinfo(host, port)
    local loop = neap.loop()
    return loop:getaddrinfo(host, port):await()
end

local host, port = (...) or "localhost", tonumber((select(2, ...))) or 443

print("by hand:  " .. table.concat(run(getaddrinfo, host, port), " "))
if neap.current_task() then
    local _, err = pcall(neap.run, getaddrinfo, host, port)
    print("neap.run: " .. err.code .. " here, for the command has called it")
else
    print("neap.run: " .. table.concat(neap.run(getaddrinfo, host, port), " "))
end
