-- Suspending where the engine cannot go on with a C function after a yield: LuaJIT and Lua 5.1.  A function that has to
-- wait answers the token, a value to keep, and what to do afterwards; the wrapper yields and then does it.
local yield, create, status = coroutine.yield, coroutine.create, coroutine.status
local engine_pcall = pcall

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

    local protect = core.protect
    if not protect then return end

    -- Protected calls for Lua 5.1, in which a function can wait: each runs in a coroutine of its own.

    local function call(fn, ...)
        return fn(...)
    end

    -- A yield of the function's own is for whoever resumed us.
    local function ended(co, ok, ...)
        if ok and status(co) == "suspended" then
            return ended(co, protect(co, yield(...)))
        end
        return ok, ...
    end

    function core.pcall(fn, ...)
        local made, co = engine_pcall(create, fn)
        if made then
            return ended(co, protect(co, ...))
        elseif type(fn) == "function" then -- in C: cannot be suspended
            return engine_pcall(fn, ...)
        end
        return core.pcall(call, fn, ...)
    end

    local function handled(handler, ok, ...)
        if ok then
            return ok, ...
        end
        local _, answer = engine_pcall(handler, (...))
        return false, answer
    end

    function core.xpcall(fn, handler, ...)
        return handled(handler, core.pcall(fn, ...))
    end
end
