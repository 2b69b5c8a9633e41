-- Closing a Lua state in any order, with work pending: each case is a child interpreter that must end
-- with its own status and without a word.
local helper = require "support.helper"
local process = require "support.process"

-- Things that may be alive when the state is closed.  Each sets globals, so that nothing is collected before.
local pending = {
    ["a loop that never ran"] = [[
        loop = neap.new_loop {}
    ]],
    ["a loop with timers and callbacks"] = [[
        loop = neap.new_loop {}
        handle = loop:call_soon(print, "never")
        timer = loop:call_later(100, print, "never")
        loop:call_later(0, print, "never")
    ]],
    ["a stopped loop with suspended tasks"] = [[
        loop = neap.new_loop {}
        tasks = {}
        for i = 1, 10 do
            tasks[i] = loop:create_task(function()
                local f = neap.future()
                f:add_done_callback(print)
                f:await()
            end)
        end
        sleeper = loop:create_task(neap.sleep, 100)
        loop:run_once(0)
        loop:run_once(0)
        unstarted = loop:create_task(print, "never")
    ]],
    ["a chain of tasks that await each other"] = [[
        loop = neap.new_loop {}
        local previous = loop:create_future()
        for i = 1, 20 do
            local awaited = previous
            previous = loop:create_task(function() return neap.await(awaited) end)
        end
        loop:run_once(0)
        loop:run_once(0)
    ]],
    ["sockets with pending operations"] = [[
        loop = neap.new_loop {}
        loop:on_slow(math.huge)
        loop:create_task(function()
            a, b = neap.socketpair()
            listener = neap.tcp()
            listener:bind "127.0.0.1:0"
            listener:listen()
            neap.spawn(function() a:recv(10) end)
            neap.spawn(function() listener:accept() end)
            neap.spawn(function() b:sendall(("x"):rep(1e6)) end)
            future = loop:sock_recv(a, 10)
            accepting = loop:sock_accept(listener)
            neap.loop():add_reader(a:fileno(), function() end)
            neap.yield()
        end)
        for _ = 1, 4 do loop:run_once(0) end
    ]],
    ["futures in every state"] = [[
        loop = neap.new_loop {}
        fs = {}
        for i = 1, 4 do
            fs[i] = loop:create_future()
            fs[i]:add_done_callback(print)
        end
        fs[1]:set_result(fs[2], fs)
        fs[2]:set_exception { fs[1] }
        fs[3]:cancel()
    ]],
    ["a closed loop and what belonged to it"] = [[
        loop = neap.new_loop {}
        f = loop:create_future()
        t = loop:create_task(function() f:await() end)
        h = loop:call_later(1, print)
        loop:on_error(function() end)
        loop:run_once(0)
        loop:close()
    ]],
    ["two loops and a finished run"] = [[
        neap.run(function() neap.sleep(0) end)
        one, two = neap.new_loop {}, neap.new_loop {}
        t1 = one:create_task(function() neap.sleep(100) end)
        t2 = two:create_task(function() neap.sleep(100) end)
        one:run_once(0)
        two:run_once(0)
    ]],
    ["the state's own loop with work"] = [[
        f = neap.future()
        t = neap.spawn(function() f:await() end)
        neap.loop():run_once(0)
        neap.loop():call_later(1, print)
    ]],
    ["a generator suspended in a wait"] = [[
        loop = neap.new_loop {}
        loop:create_task(function()
            local generator = coroutine.wrap(function()
                coroutine.wrap(function() neap.sleep(100) end)()
            end)
            while generator() do end
        end)
        loop:run_once(0)
        loop:run_once(0)
    ]],
    ["a cycle through everything"] = [[
        loop = neap.new_loop {}
        local box = {}
        box.loop = loop
        box.future = loop:create_future()
        box.task = loop:create_task(function() box.future:await() return box end)
        box.future:add_done_callback(function() return box end)
        box.timer = loop:call_later(100, function() return box end)
        box.self = box
        loop:on_error(function() return box end)
        loop:run_once(0)
        loop:run_once(0)
        if not keep then loop = nil end
    ]],
    ["a wait for several"] = [[
        loop = neap.new_loop {}
        loop:create_task(neap.gather, function() neap.sleep(100) end, function() loop:create_future():await() end)
        loop:create_task(neap.wait, { function() neap.sleep(100) end }, { timeout = 50 })
        loop:create_task(neap.wait_for, loop:create_future(), 50)
        loop:create_task(function() neap.shield(function() neap.sleep(100) end):await() end)
        for _ = 1, 5 do loop:run_once(0) end
    ]],
}

local endings = {
    ["at the end of the script"] = { "", 0 },
    ["by os.exit with close"] = { "os.exit(0, true)", 0 },
    ["by os.exit"] = { "os.exit(7)", 7 },
    ["after a full collection"] = { "collectgarbage() collectgarbage()", 0 },
    ["with everything dropped first"] = {
        "for k, v in pairs(_G) do if type(v) == 'userdata' and v ~= io then _G[k] = nil end end collectgarbage()", 0,
    },
    ["with neap unloaded first"] = {
        "for k in pairs(package.loaded) do if k:match '^neap' then package.loaded[k] = nil end end " ..
        "neap = nil collectgarbage() collectgarbage()", 0,
    },
}

local function quiet(result, code)
    assert.equal("", result.err)
    assert.equal("", result.out)
    assert.equal(code, result.code)
end

describe("closing a state", function()
    for what, text in pairs(pending) do
        for how, ending in pairs(endings) do
            it("" .. what .. ", ended " .. how, function()
                -- The reports of a close are not this test's business.
                quiet(process.run_lua("neap = require 'neap'\n" .. text .. "\n" .. ending[1]), ending[2])
            end)
        end
    end

    it("an error of the script keeps its status and its text", function()
        local result = process.run_lua("neap = require 'neap'\n" .. pending["sockets with pending operations"] ..
            "\nerror 'the script broke'")
        assert.equal(1, result.code)
        assert.equal("", result.out)
        helper.contains("the script broke", result.err)
    end)

    it("os.exit inside a task ends the program with its status", function()
        local result = process.run_lua [[
            local neap = require "neap"
            neap.run(function()
                neap.spawn(neap.sleep, 100)
                local a, b = neap.socketpair()
                neap.spawn(a.recv, a, 1)
                neap.yield()
                os.exit(3)
            end)
        ]]
        quiet(result, 3)
    end)

    it("os.exit with close inside a task ends the program and runs no more Lua of the loop", function()
        local result = process.run_lua [[
            local neap = require "neap"
            neap.run(function()
                neap.spawn(function()
                    pcall(neap.sleep, 100)
                    print "never"
                end)
                neap.yield()
                neap.loop():call_soon(print, "never")
                os.exit(4, true)
            end)
        ]]
        quiet(result, 4)
    end)

    it("os.exit with close inside a callback and inside a generator", function()
        quiet(process.run_lua [[
            local neap = require "neap"
            neap.run(function()
                neap.loop():call_soon(os.exit, 5, true)
                neap.sleep(100)
            end)
        ]], 5)
        quiet(process.run_lua [[
            local neap = require "neap"
            neap.run(function()
                coroutine.wrap(function()
                    neap.yield()
                    os.exit(6, true)
                end)()
            end)
        ]], 6)
    end)

    it("finalizers of the script may use neap while the state closes", function()
        local proxy = helper.has_proxies and [[
            local object = newproxy(true)
            getmetatable(object).__gc = finalize
        ]] or [[
            object = setmetatable({}, { __gc = finalize })
        ]]
        local result = process.run_lua([[
            neap = require "neap"
            loop = neap.new_loop {}
            f = loop:create_future()
            t = loop:create_task(function() f:await() end)
            loop:run_once(0)
            local function finalize()
                pcall(f.set_result, f, 1)
                pcall(t.cancel, t)
                pcall(loop.call_soon, loop, tostring, 1)
                pcall(loop.run_once, loop, 0)
                pcall(loop.close, loop)
                pcall(neap.run, function() end)
                pcall(neap.new_loop, {})
                io.stdout:write "finalized"
            end
        ]] .. proxy .. "\n keep = object", {
            -- Lua never finalizes what is made while it closes, so the leak checker has nothing to say here.
            env = { ASAN_OPTIONS = (os.getenv "ASAN_OPTIONS" or "") .. ":detect_leaks=0" },
        })
        assert.equal("", result.err)
        assert.equal(0, result.code)
        assert.equal("finalized", result.out)
    end)

    it("T22: closing a state says nothing of pending tasks", function()
        quiet(process.run_neap [[
            local neap = require "neap"
            neap.spawn(function()
                pcall(neap.sleep, 100)
            end)
        ]], 0)
    end)
end)
