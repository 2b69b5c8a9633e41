-- Suspending on LuaJIT, where a C function cannot be continued after a yield.  A function that has to wait answers the
-- token, a value to keep, and what to do afterwards; the wrapper yields and then does it.
local yield = coroutine.yield

return function(core)
    local token, resumed = core.token, core.resumed
    local pass

    local function suspend(_, kept, continuation)
        yield()
        return pass(resumed(kept, continuation))
    end

    function pass(...)
        if (...) == token then
            return suspend(...)
        end
        return ...
    end

    local function suspending(start)
        return function(...)
            return pass(start(...))
        end
    end

    for _, entry in ipairs(core.waits) do
        local functions, name = entry[1], entry[2]
        functions[name] = suspending(functions[name])
    end
    core.waits = nil

    local wrap = core.coroutine.wrap
    function core.coroutine.wrap(body)
        return suspending(wrap(body))
    end
end
