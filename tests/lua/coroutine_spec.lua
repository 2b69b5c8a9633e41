-- Waiting inside the script's own coroutines, protected calls, metamethods, and where it is not possible.
local original_yield, original_resume = coroutine.yield, coroutine.resume

local neap = require "neap"
local helper = require "support.helper"
local in_loop, in_real_loop, raises, ticks = helper.in_loop, helper.in_real_loop, helper.raises, helper.ticks

-- A generator that waits between its values.
local function slow_numbers(n)
    return coroutine.wrap(function()
        for i = 1, n do
            neap.sleep(1)
            coroutine.yield(i)
        end
    end)
end

describe("generators", function()
    it("G5: a wrapped generator may wait; its consumer sees only its values", in_loop(function(loop)
        local seen = {}
        helper.each(function(i)
            seen[#seen + 1] = { i, loop:time() }
        end, slow_numbers(3))
        assert.same({ { 1, 1 }, { 2, 2 }, { 3, 3 } }, seen)
    end))

    it("G5: values go in and out of a coroutine that waits", in_loop(function()
        local co = coroutine.create(function(a, b)
            neap.sleep(1)
            local c, d = coroutine.yield(a + b, "first")
            neap.sleep(1)
            local e = coroutine.yield(c .. d)
            return e, nil, "end"
        end)
        assert.same({ n = 3, true, 3, "first" }, helper.pack(coroutine.resume(co, 1, 2)))
        assert.equal("suspended", coroutine.status(co))
        assert.same({ n = 2, true, "xy" }, helper.pack(coroutine.resume(co, "x", "y")))
        local last = helper.pack(coroutine.resume(co, "z"))
        assert.equal(4, last.n)
        assert.equal("z", last[2])
        assert.is_nil(last[3])
        assert.equal("end", last[4])
        assert.equal("dead", coroutine.status(co))
        local ok, err = coroutine.resume(co)
        assert.is_false(ok)
        helper.contains("dead", err)
    end))

    it("G5: a wait reaches through generators of generators", in_loop(function(loop)
        local function layer(n)
            return coroutine.wrap(function()
                if n == 0 then
                    for i = 1, 3 do
                        neap.sleep(1)
                        coroutine.yield(i)
                    end
                else
                    helper.each(function(i)
                        coroutine.yield(i * 2)
                    end, layer(n - 1))
                end
            end)
        end
        local seen = {}
        helper.each(function(i)
            seen[#seen + 1] = i
        end, layer(10))
        assert.same({ 1024, 2048, 3072 }, seen)
        assert.equal(3, loop:time())
    end))

    it("G5: nested coroutines are as deep as the engine allows, then a clear error", in_loop(function()
        local function nest(n)
            if n == 0 then
                neap.yield()
                return "bottom"
            end
            return coroutine.wrap(nest)(n - 1)
        end
        assert.equal("bottom", nest(100))
        local depth, failure = 100, nil
        while depth < 1e6 and not failure do
            depth = depth * 2
            local ok, err = pcall(nest, depth)
            if not ok then
                failure = err
            end
        end
        assert.is_truthy(tostring(failure):find "overflow" or tostring(failure):find "memory", tostring(failure))
        assert.equal("bottom", nest(100)) -- and all is well afterwards
    end))

    it("G5: two tasks may each drive a generator of their own", in_loop(function()
        local log = {}
        local function consume(name)
            helper.each(function(i)
                log[#log + 1] = name .. i
            end, slow_numbers(3))
        end
        neap.gather(function() consume "a" end, function() consume "b" end)
        assert.same({ "a1", "b1", "a2", "b2", "a3", "b3" }, log)
    end))

    it("G5: an error inside a generator reaches its consumer", in_loop(function()
        local why = {}
        local generator = coroutine.wrap(function()
            neap.sleep(1)
            error(why)
        end)
        local ok, err = pcall(generator)
        assert.is_false(ok)
        assert.equal(why, err)
        local co = coroutine.create(function()
            neap.sleep(1)
            error("text", 0)
        end)
        assert.same({ n = 2, false, "text" }, helper.pack(coroutine.resume(co)))
    end))

    it("G5: a failed future raises inside the generator, which may catch it", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(f.set_exception, f, "why")
        local generator = coroutine.wrap(function()
            local ok, err = pcall(neap.await, f)
            coroutine.yield(ok, err)
        end)
        local ok, err = generator()
        assert.is_false(ok)
        assert.equal("why", err)
    end))

    it("G5: inside a generator a yielded future is a value for the consumer", in_loop(function()
        local f = neap.future()
        local generator = coroutine.wrap(function()
            coroutine.yield(f)
            coroutine.yield()
            coroutine.yield(42, "read")
        end)
        assert.equal(f, generator())
        assert.equal(0, select("#", generator()))
        assert.same({ n = 2, 42, "read" }, helper.pack(generator()))
    end))

    it("G5: a generator may receive from a socket", in_real_loop(function()
        local a, b = neap.socketpair()
        local function lines(s)
            return coroutine.wrap(function()
                local rest = ""
                while true do
                    local data = s:recv(3)
                    if not data then
                        return
                    end
                    rest = rest .. data
                    while true do
                        local line, after = rest:match "^(.-)\n(.*)$"
                        if not line then
                            break
                        end
                        coroutine.yield(line)
                        rest = after
                    end
                end
            end)
        end
        neap.spawn(function()
            for _, text in ipairs { "on", "e\ntwo", "\nthree\n" } do
                b:sendall(text)
                neap.sleep(0.001)
            end
            b:close()
        end)
        local seen = {}
        helper.each(function(line)
            seen[#seen + 1] = line
        end, lines(a))
        assert.same({ "one", "two", "three" }, seen)
        a:close()
    end))

    it("G5: a generator started in one task may go on in another", in_loop(function(loop)
        local generator = slow_numbers(2)
        assert.equal(1, generator())
        local task = neap.spawn(function()
            return generator()
        end)
        assert.equal(2, task:await())
        assert.equal(2, loop:time())
    end))

    it("G5: an abandoned generator leaves nothing", in_loop(function()
        local generator = slow_numbers(5)
        assert.equal(1, generator())
    end))

    it("G5: running and isyieldable tell the truth inside", in_loop(function()
        coroutine.wrap(function()
            local me = coroutine.running()
            assert.equal("thread", type(me))
            assert.equal("running", coroutine.status(me))
            if coroutine.isyieldable then
                assert.is_true(coroutine.isyieldable())
            end
            neap.yield()
            assert.equal(me, coroutine.running())
        end)()
    end))

    it("G5: a coroutine that waits cannot be resumed by another task", in_loop(function()
        local co = coroutine.create(function()
            neap.sleep(5)
            return "own"
        end)
        local owner = neap.spawn(coroutine.resume, co)
        ticks(2)
        local ok, err = coroutine.resume(co)
        assert.is_false(ok)
        assert.is_truthy(err)
        local result = helper.pack(owner:await())
        assert.same({ n = 2, true, "own" }, result)
    end))

    if coroutine.close then
        it("G5: closing a coroutine that is suspended at its own yield works as ever", in_loop(function()
            local co = coroutine.create(function()
                neap.sleep(1)
                coroutine.yield(1)
            end)
            coroutine.resume(co)
            assert.is_true(coroutine.close(co))
            assert.equal("dead", coroutine.status(co))
        end))

        it("G5: closing a coroutine in the middle of its wait is refused or ends the wait", in_loop(function(loop)
            local co = coroutine.create(function()
                neap.sleep(1000)
            end)
            local owner = neap.spawn(coroutine.resume, co)
            ticks(2)
            pcall(coroutine.close, co)
            owner:cancel()
            pcall(neap.await, owner)
            assert.equal(0, loop:metrics().timers)
            assert.equal(0, loop:time())
        end))
    else
        it("G5: this engine has no coroutine.close", function()
            assert.is_nil(coroutine.close)
        end)
    end
end)

describe("cancellation in coroutines", function()
    it("C3: a cancellation unwinds the inner coroutine first", in_loop(function()
        local log = {}
        local function guarded(name, fn, ...)
            local result = helper.pack(pcall(fn, ...))
            if not result[1] then
                log[#log + 1] = name
                error(result[2], 0)
            end
            return helper.unpack(result, 2, result.n)
        end
        local task = neap.spawn(function()
            guarded("task", function()
                local outer = coroutine.wrap(function()
                    guarded("outer", function()
                        local inner = coroutine.wrap(function()
                            guarded("inner", neap.sleep, 100)
                        end)
                        inner()
                    end)
                end)
                outer()
            end)
        end)
        ticks(2)
        task:cancel()
        raises("cancelled", neap.await, task)
        assert.same({ "inner", "outer", "task" }, log)
    end))

    it("C6: a generator may swallow a cancellation and go on", in_loop(function()
        local task = neap.spawn(function()
            local generator = coroutine.wrap(function()
                local ok, err = pcall(neap.sleep, 100)
                coroutine.yield(ok, neap.is_cancelled(err))
                neap.sleep(1)
                coroutine.yield "still here"
            end)
            local ok, cancelled = generator()
            return ok, cancelled, generator()
        end)
        ticks(2)
        task:cancel()
        local ok, cancelled, text = task:await()
        assert.is_false(ok)
        assert.is_true(cancelled)
        assert.equal("still here", text)
    end))

    it("C3: resume hands a cancellation of its coroutine to the caller as false and the error", in_loop(function()
        local task = neap.spawn(function()
            local co = coroutine.create(neap.sleep)
            local ok, err = coroutine.resume(co, 100)
            return ok, neap.is_cancelled(err), coroutine.status(co)
        end)
        ticks(2)
        task:cancel()
        local ok, cancelled, status = task:await()
        assert.is_false(ok)
        assert.is_true(cancelled)
        assert.equal("dead", status)
    end))
end)

describe("outside tasks", function()
    it("L15: the coroutine functions behave as the originals in callbacks", in_loop(function(loop)
        local result
        loop:call_soon(function()
            local co = coroutine.wrap(function(x)
                local y = coroutine.yield(x + 1)
                return y * 2
            end)
            result = { co(1), co(5) }
        end)
        neap.yield()
        assert.same({ 2, 10 }, result)
    end))

    it("L15: in a callback a yielded future is a value for the resumer", in_loop(function(loop)
        local f, got = neap.future(), nil
        loop:call_soon(function()
            got = coroutine.wrap(function()
                coroutine.yield(f)
            end)()
        end)
        neap.yield()
        assert.equal(f, got)
    end))

    it("L15: waiting in a coroutine of a callback is refused", in_loop(function(loop)
        local got
        loop:call_soon(function()
            local co = coroutine.create(neap.sleep)
            got = helper.pack(coroutine.resume(co, 1))
        end)
        neap.yield()
        assert.is_false(got[1])
        assert.equal("no_task", got[2].code)
        assert.equal(0, neap.loop():metrics().timers)
    end))

    it("L15: neap.coroutine holds the functions that know tasks", function()
        for _, name in ipairs { "create", "yield", "resume", "wrap" } do
            assert.equal("function", type(neap.coroutine[name]))
        end
        neap.run(function()
            for _, name in ipairs { "yield", "resume", "wrap" } do
                assert.equal(neap.coroutine[name], coroutine[name])
            end
        end)
    end)

    it("L15: with coroutines=false the functions of neap.coroutine still serve", function()
        neap.run { function()
            local generator = neap.coroutine.wrap(function()
                neap.sleep(1)
                neap.coroutine.yield "v"
            end)
            assert.equal("v", generator())
        end, coroutines = false, virtual = true }
    end)

    it("L15: a script that kept the original yield gets ok and the values", in_loop(function(loop)
        assert.not_equal(original_yield, coroutine.yield)
        local f = neap.future()
        loop:call_soon(f.set_result, f, "a", "b")
        assert.same({ n = 3, true, "a", "b" }, helper.pack(original_yield(f)))
        local g = neap.future()
        loop:call_soon(g.set_exception, g, "why")
        assert.same({ n = 2, false, "why" }, helper.pack(original_yield(g)))
    end))

    it("L15: a wait that reaches a resumer of the original kind fails and names the cause", in_loop(function(loop)
        local co = coroutine.create(function()
            neap.sleep(1000)
        end)
        local result = helper.pack(original_resume(co))
        -- Either the wait is refused at once or the next resume of the coroutine fails with the cause.
        if result[1] then
            result = helper.pack(original_resume(co))
        end
        assert.is_false(result[1])
        helper.contains("resume", tostring(result[2]))
        ticks(2)
        assert.equal(0, loop:metrics().timers)
        assert.equal(0, loop:time())
    end))
end)

describe("where a wait may stand", function()
    it("G5: pcall inside pcall inside a generator inside an iterator", in_loop(function(loop)
        local function iterator(_, i)
            i = i + 1
            if i <= 3 then
                local ok, value = pcall(function()
                    return (coroutine.wrap(function()
                        local inner_ok, v = pcall(function()
                            neap.sleep(1)
                            return i * 10
                        end)
                        assert(inner_ok)
                        return v
                    end)())
                end)
                assert(ok)
                return i, value
            end
        end
        local seen = {}
        helper.each(function(_, value)
            seen[#seen + 1] = value
        end, iterator, nil, 0)
        assert.same({ 10, 20, 30 }, seen)
        assert.equal(3, loop:time())
    end))

    it("G5: error handlers of xpcall cannot wait, and say so", in_loop(function()
        local inside
        local ok = xpcall(error, function()
            local _, err = pcall(neap.sleep, 1)
            inside = err
            return "handled"
        end, "x")
        assert.is_false(ok)
        assert.equal("no_yield", helper.code_of(inside))
        assert.equal(0, neap.loop():metrics().timers)
    end))

    local function refused(name, call)
        it("G5: a wait under " .. name .. " is refused before it starts, and the error names it", in_loop(function(loop)
            local before = loop:metrics()
            local inside
            pcall(call, function()
                local _, err = pcall(neap.sleep, 10)
                inside = inside or err
                return err
            end)
            assert.equal("no_yield", helper.code_of(inside), tostring(inside))
            helper.contains(name, tostring(inside))
            assert.equal(before.timers, loop:metrics().timers)
            assert.equal(before.ticks, loop:metrics().ticks)
        end))
    end

    refused("sort", function(wait)
        table.sort({ 3, 2, 1 }, function(a, b)
            wait()
            return a < b
        end)
    end)
    refused("gsub", function(wait)
        string.gsub("abc", ".", function()
            wait()
        end)
    end)
    if helper.version ~= "5.1" then -- its format does not call __tostring
        refused("format", function(wait)
            local text = string.format("%s", setmetatable({}, { __tostring = function()
                wait()
                return "x"
            end }))
            return text
        end)
    end
    refused("load", function(wait)
        load(function()
            wait()
        end)
    end)

    if not helper.waits_anywhere then
        refused("iterator", function(wait)
            for _ in function() wait() end do end -- luacheck: ignore 542
        end)
        refused("iterator", function(wait)
            for _ in coroutine.wrap(function() wait() end) do end -- luacheck: ignore 542
        end)
        refused("metamethod", function(wait)
            return setmetatable({}, { __index = wait }).field
        end)
        refused("metamethod", function(wait)
            return setmetatable({}, { __concat = function() return wait() end }) .. "x"
        end)
        refused("metamethod", function(wait)
            return -setmetatable({}, { __unm = function()
                coroutine.wrap(function() wait() end)()
            end })
        end)
    end

    it("G5: a wait may stand in what the engine calls plainly, whatever its name", in_loop(function(loop)
        local function tail() return neap.sleep(1) end
        local callable = setmetatable({}, { __call = function() return tail() end });
        (function() neap.sleep(1) end)()
        tail()
        callable()
        assert.is_true(pcall(callable))
        assert.equal(4, loop:time())
    end))

    it("G5: a wait whose value is there already is refused alike", in_loop(function()
        local f = neap.future()
        f:set_result(1)
        neap.yield()
        local inside
        pcall(table.sort, { 2, 1 }, function(a, b)
            local _, err = pcall(neap.await, f)
            inside = err
            return a < b
        end)
        assert.equal("no_yield", helper.code_of(inside))
    end))

    it("G5: a receive that need not wait is refused alike, and takes nothing", in_real_loop(function()
        local a, b = neap.socketpair()
        b:try_send "x"
        local inside
        pcall(string.gsub, "a", ".", function()
            local _, err = pcall(a.recv, a, 1)
            inside = err
        end)
        assert.equal("no_yield", helper.code_of(inside))
        helper.contains("gsub", tostring(inside))
        assert.equal("x", a:recv(1))
        a:close()
        b:close()
    end))

    it("G5: the function in between is named through the script's coroutines too", in_loop(function()
        local inside
        pcall(table.sort, { 2, 1 }, function(a, b)
            coroutine.wrap(function()
                local _, err = pcall(neap.sleep, 1)
                inside = err
            end)()
            return a < b
        end)
        assert.equal("no_yield", helper.code_of(inside))
        helper.contains("sort", tostring(inside))
    end))

    it("G5: verbs that do not wait work there", in_loop(function()
        local spawned, f = {}, neap.future()
        table.sort({ 3, 1, 2 }, function(a, b)
            spawned[#spawned + 1] = neap.spawn(function()
                return "v"
            end)
            if not f:done() then
                f:set_result "set inside sort"
            end
            return a < b
        end)
        assert.equal("set inside sort", f:await())
        for _, task in ipairs(spawned) do
            assert.equal("v", task:await())
        end
    end))

    if helper.is_luajit then
        it("G5: __tostring may wait under tostring on this engine", in_loop(function(loop)
            local object = setmetatable({}, {
                __tostring = function()
                    neap.sleep(1)
                    return "shown"
                end,
            })
            assert.equal("shown", tostring(object))
            assert.equal(1, loop:time())
        end))
    else
        refused("tostring", function(wait)
            tostring(setmetatable({}, { __tostring = function()
                wait()
                return "x"
            end }))
        end)
    end

    local scope = helper.compile [[
        local neap, log = ...
        return function(fail)
            local guard <close> = setmetatable({}, { __close = function(_, err)
                neap.sleep(1)
                log[#log + 1] = err or "normal"
            end })
            neap.sleep(1)
            if fail then
                error("broken", 0)
            end
            return "value"
        end
    ]]
    if helper.has_close then
        it("G5: to-be-closed variables may wait at normal and at error exit", in_loop(function(loop)
            local log = {}
            local body = scope(neap, log)
            assert.equal("value", body(false))
            local ok, err = pcall(body, true)
            assert.is_false(ok)
            assert.equal("broken", err)
            assert.same({ "normal", "broken" }, log)
            assert.equal(4, loop:time())
        end))

        it("G5: a generic for closes its state, which may wait", in_loop(function(loop)
            local body = helper.compile [[
                local neap, log = ...
                local closer = setmetatable({}, { __close = function()
                    neap.sleep(1)
                    log[#log + 1] = "closed"
                end })
                for i in function(_, i) return (i or 0) + 1 end, nil, nil, closer do
                    log[#log + 1] = i
                    if i == 2 then break end
                end
            ]]
            local log = {}
            body(neap, log)
            assert.same({ 1, 2, "closed" }, log)
            assert.equal(1, loop:time())
        end))
    else
        it("G5: this engine has no to-be-closed variables", function()
            assert.is_nil(scope)
        end)
    end

    it("G5: a wait may stand in a chunk run by dofile or load where the engine can", in_loop(function(loop)
        local chunk = helper.compile "local neap = ... neap.sleep(1) return 'loaded'"
        assert.equal("loaded", chunk(neap))
        assert.equal(1, loop:time())
    end))
end)
