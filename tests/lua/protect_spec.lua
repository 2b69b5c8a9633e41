-- neap.pcall, xpcall and assert: the engine's own where they can wait or raise any value, else replacements.
local engine = { pcall = pcall, xpcall = xpcall, assert = _G.assert } -- the global one: here it is luassert

local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop, raises = helper.in_loop, helper.in_real_loop, helper.raises

-- What this engine needs replacements for.
local replaced = {
    pcall = helper.version == "5.1", xpcall = helper.version == "5.1",
    assert = helper.version == "5.1" or helper.version == "5.2",
}

describe("protected calls", function()
    for _, name in ipairs { "pcall", "xpcall", "assert" } do
        it(name .. " is the engine's own unless that cannot do it", function()
            assert.equal(not replaced[name], neap[name] == engine[name])
            assert.equal(engine[name], _G[name])
        end)

        it(name .. " is found under its global name while a run is on", function()
            local inside, left_alone
            neap.run(function() inside = _G[name] end)
            neap.run { function() left_alone = _G[name] end, coroutines = false }
            assert.equal(neap[name], inside)
            assert.equal(engine[name], left_alone)
            assert.equal(engine[name], _G[name])
        end)
    end

    it("neap's own let waits through in a run that replaces nothing, too", function()
        assert.same({ true, "waited" }, { neap.run { function()
            return neap.pcall(function()
                neap.timeout(1, neap.sleep, 0)
                return "waited"
            end)
        end, coroutines = false } })
    end)

    it("what a script has put in the place of assert is left alone", function()
        local own = setmetatable({}, { __call = function() end })
        local inside
        rawset(_G, "assert", own)
        neap.run(function() inside = _G.assert end)
        local after = _G.assert
        rawset(_G, "assert", engine.assert)
        assert.equal(own, inside)
        assert.equal(own, after)
    end)

    it("pcall answers what the function does, also after a wait", in_loop(function()
        assert.same({ n = 1, true }, helper.pack(neap.pcall(function() neap.sleep(1) end)))
        assert.same({ n = 4, true, 1, nil, 3 }, helper.pack(neap.pcall(function(...)
            neap.sleep(1)
            return ...
        end, 1, nil, 3)))
        local why = {}
        local ok, err = neap.pcall(function()
            neap.sleep(1)
            error(why)
        end)
        assert.is_false(ok)
        assert.equal(why, err)
    end))

    it("pcall takes what is no Lua function", in_loop(function()
        local callable = setmetatable({}, { __call = function(_, value)
            neap.sleep(1)
            return value
        end })
        assert.same({ true, 5 }, { neap.pcall(callable, 5) })
        assert.same({ true, "3" }, { neap.pcall(tostring, 3) })
        assert.same({ false, "text" }, { neap.pcall(error, "text") })
        local ok, err = neap.pcall(nil)
        assert.is_false(ok)
        helper.contains("attempt to call", err)
    end))

    it("pcall works where there is no task", function()
        assert.same({ true, 1 }, { neap.pcall(function() return 1 end) })
        local co = coroutine.create(function()
            return neap.pcall(function(...)
                return coroutine.yield(...)
            end, "out")
        end)
        assert.same({ true, "out" }, { coroutine.resume(co) })
        assert.same({ true, true, "in" }, { coroutine.resume(co, "in") })
    end)

    it("calls inside each other wait and fail each for themselves", in_loop(function(loop)
        local function nest(n)
            if n == 0 then
                neap.sleep(1)
                error("bottom", 0)
            end
            local ok, err = pcall(nest, n - 1)
            neap.sleep(1)
            error(err .. (ok and "?" or "."), 0)
        end
        local ok, err = pcall(nest, 20)
        assert.is_false(ok)
        assert.equal("bottom" .. ("."):rep(20), err)
        assert.equal(21, loop:time())
    end))

    it("a coroutine's own yields go through, its waits outward", in_loop(function(loop)
        local co = coroutine.wrap(function()
            return pcall(function()
                local sum = 0
                for i = 1, 3 do
                    neap.sleep(1)
                    sum = sum + coroutine.yield(i)
                end
                return sum
            end)
        end)
        assert.equal(1, co())
        assert.equal(2, co(10))
        assert.equal(3, co(20))
        assert.same({ true, 60 }, { co(30) })
        assert.equal(3, loop:time())
    end))

    it("a task yields inside as it does outside", in_real_loop(function()
        local f = neap.future()
        neap.loop():call_soon(f.set_result, f, "value")
        local ok, value = pcall(coroutine.yield, f)
        assert.is_true(ok)
        assert.equal("value", value)
        local a, b = neap.socketpair()
        b:try_send "x"
        pcall(function() coroutine.yield(a, "read") end)
        assert.equal("x", a:recv(1))
        local inside
        local fine = pcall(pcall, function() inside = select(2, pcall(coroutine.yield, 42)) end)
        assert.is_true(fine)
        assert.equal("bad_yield", helper.code_of(inside))
        a:close()
        b:close()
    end))

    it("a cancellation is raised inside", in_loop(function()
        local seen
        local task = neap.spawn(function()
            local ok, err = pcall(function() neap.sleep(100) end)
            seen = { ok, neap.is_cancelled(err) }
            error(err, 0)
        end)
        neap.yield()
        task:cancel()
        raises("cancelled", task.await, task)
        assert.same({ false, true }, seen)
    end))

    it("the running task is the same inside", in_loop(function()
        local outside, inside = neap.current_task(), nil
        pcall(function()
            neap.yield()
            inside = neap.current_task()
        end)
        assert.equal(outside, inside)
    end))

    it("xpcall passes arguments on and gives the error to its handler", in_loop(function()
        local function handler(err)
            return "handled " .. tostring(err), "more"
        end
        assert.same({ n = 3, true, 1, 2 }, helper.pack(neap.xpcall(function(...)
            neap.sleep(1)
            return ...
        end, handler, 1, 2)))
        assert.same({ n = 2, false, "handled why" }, helper.pack(neap.xpcall(function(why)
            neap.sleep(1)
            error(why, 0)
        end, handler, "why")))
    end))

    it("the traceback of a task names the line inside that failed", in_loop(function(_, reports)
        local line
        local task = neap.spawn(function()
            local ok, err = pcall(function()
                neap.sleep(1)
                line = debug.getinfo(1, "l").currentline + 1
                error { "an object" }
            end)
            assert.is_false(ok)
            error(err, 0)
        end)
        assert.is_false((pcall(task.await, task)))
        assert.equal(0, #reports)
        if replaced.pcall then -- the coroutine of the call is a level of its own
            helper.contains("protect_spec.lua:" .. line, task:traceback())
        end
    end, { reports = true }))

    it("assert raises any value, and answers all of its arguments", in_loop(function()
        assert.same({ n = 3, 1, nil, 3 }, helper.pack(neap.assert(1, nil, 3)))
        local why = {}
        local ok, err = pcall(neap.assert, nil, why)
        assert.is_false(ok)
        assert.equal(why, err)
        helper.contains("assertion failed!", select(2, pcall(neap.assert, false)))
        assert.is_false((pcall(neap.assert)))
    end))

    if replaced.pcall then
        it("the engine's own, kept by a script, is named with the cure if something waits in it", in_loop(function(loop)
            local ok, err = engine.pcall(neap.sleep, 1)
            assert.is_false(ok)
            assert.equal("no_yield", helper.code_of(err))
            helper.contains("'pcall'", tostring(err))
            helper.contains("use neap's", tostring(err))
            assert.equal(0, loop:time())
        end))

        -- Where frames do not tell, the engine is asked how deep it can still go; collections come meanwhile.
        it("asking whether a wait is possible costs no finalizer its call", in_loop(function()
            local gone, alive = 0, setmetatable({}, { __mode = "v" })
            local function make(i)
                local proxy = newproxy(true) -- luacheck: ignore 113
                getmetatable(proxy).__gc = function() gone = gone + 1 end
                alive[i] = proxy
            end
            for i = 1, 20000 do
                make(i);
                (function() neap.sleep(0) end)()
            end
            helper.collect(2)
            for _ in pairs(alive) do
                gone = gone + 1 -- the stack may still have one
            end
            assert.equal(20000, gone)
        end))
    end
end)
