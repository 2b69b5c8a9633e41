-- Tasks: coroutines as tasks, values in and out, stepping, refusals, names, stacks, locals.
local neap = require "neap"
local helper = require "support.helper"
local in_loop, raises, ticks = helper.in_loop, helper.raises, helper.ticks

describe("coroutine mechanics", function()
    it("G1: a body runs to its first yield on the first step and goes on from there", in_loop(function()
        local log = {}
        local task = neap.spawn(function()
            log[#log + 1] = 1
            neap.yield()
            log[#log + 1] = 2
        end)
        assert.same({}, log)
        neap.yield()
        assert.same({ 1 }, log)
        assert.is_false(task:done())
        neap.yield()
        assert.same({ 1, 2 }, log)
        assert.is_true(task:done())
    end))

    it("G1: a task is done only after its body returned", in_loop(function()
        local done_inside
        local task
        task = neap.spawn(function()
            neap.yield()
            done_inside = task:done()
        end)
        task:await()
        assert.is_false(done_inside)
        assert.is_true(task:done())
    end))

    it("G2: the value of a future is the result of the await", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(function()
            f:set_result "abc"
        end)
        local v = neap.await(f)
        assert.equal("abc", v)
    end))

    for name, value in pairs { ["nil"] = { n = 1 }, ["false"] = { n = 1, false } } do
        it("G2: the result " .. name .. " survives unchanged", in_loop(function(loop)
            local f = neap.future()
            loop:call_soon(function()
                f:set_result(helper.unpack(value, 1, value.n))
            end)
            local got = helper.pack(neap.await(f))
            assert.equal(1, got.n)
            assert.equal(value[1], got[1])
        end))
    end

    it("G2: several values survive unchanged, nils included", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(function()
            f:set_result(nil, "b", nil, false, nil)
        end)
        local got = helper.pack(neap.await(f))
        assert.equal(5, got.n)
        assert.is_nil(got[1])
        assert.equal("b", got[2])
        assert.is_false(got[4])
    end))

    it("G2: no value at all is no value", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(function()
            f:set_result()
        end)
        assert.equal(0, select("#", neap.await(f)))
    end))

    it("G2: the first step gets the arguments of spawn", in_loop(function()
        local got
        neap.spawn(function(...)
            got = helper.pack(...)
        end, 1, nil, "three", nil):await()
        assert.equal(4, got.n)
        assert.equal(1, got[1])
        assert.is_nil(got[2])
        assert.equal("three", got[3])
    end))

    for name, value in pairs {
        ["a string"] = "text",
        ["a table"] = {},
        ["a function"] = print,
        ["a number"] = 12,
        ["false"] = false,
        ["an object with __tostring"] = setmetatable({}, { __tostring = function() return "shown" end }),
    } do
        it("G3: an exception that is " .. name .. " appears at the await as the same value", in_loop(function(loop)
            local f = neap.future()
            loop:call_soon(function()
                f:set_exception(value)
            end)
            local got = helper.pack(pcall(neap.await, f))
            assert.is_false(got[1])
            assert.equal(2, got.n)
            assert.equal(value, got[2])
        end))
    end

    it("G3: the exception nil appears at the await as nil", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(function()
            f:set_exception(nil)
        end)
        local ok, err = pcall(neap.await, f)
        assert.is_false(ok)
        assert.is_nil(err)
    end))

    it("G3: an uncaught exception ends the task with that value, and the trace names the await",
        in_loop(function(_, reports)
            local f, why = neap.future(), { "why" }
            local line = debug.getinfo(1, "l").currentline + 2
            local task = neap.spawn(function()
                local value = neap.await(f)
                return value
            end)
            neap.yield()
            f:set_exception(why)
            ticks(3)
            assert.is_true(task:done())
            assert.equal(why, task:exception())
            assert.equal(1, #reports)
            assert.equal(why, reports[1].error)
            helper.contains("task_spec.lua:" .. line, reports[1].traceback)
        end, { reports = true }))

    it("G4: run gives back the values of the main function, their count preserved", function()
        local got = helper.pack(neap.run(function()
            return 1, nil, 3
        end))
        assert.equal(3, got.n)
        assert.equal(1, got[1])
        assert.is_nil(got[2])
        assert.equal(3, got[3])
    end)

    it("G4: trailing nils of a result are counted", function()
        assert.equal(2, select("#", neap.run(function()
            return nil, nil
        end)))
        assert.equal(0, select("#", neap.run(function() end)))
    end)

    it("G4: the values of a task come out of its await", in_loop(function()
        local got = helper.pack(neap.await(neap.spawn(function()
            neap.yield()
            return "a", nil, "c", nil
        end)))
        assert.equal(4, got.n)
        assert.equal("a", got[1])
        assert.equal("c", got[3])
    end))

    -- Each level goes through a plain call, pcall, and where the engine can a metamethod or an iterator in turn.
    local kinds = helper.waits_anywhere and 4 or 2
    local function tunnel(level, f)
        if level == 0 then
            return neap.await(f)
        end
        local kind = level % kinds
        if kind == 0 then
            local v = tunnel(level - 1, f)
            return v
        elseif kind == 1 then
            local ok, v = pcall(tunnel, level - 1, f)
            if not ok then
                error(v, 0)
            end
            return v
        elseif kind == 2 then
            local proxy = setmetatable({}, {
                __index = function()
                    return tunnel(level - 1, f)
                end,
            })
            return proxy.value
        end
        local function iterator(_, state)
            if not state then
                return tunnel(level - 1, f)
            end
        end
        for v in iterator do -- luacheck: ignore 512
            return v
        end
    end

    it("G5: a value reaches an await 50 levels deep through pcall, metamethod and iterator", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(f.set_result, f, "deep")
        assert.equal("deep", tunnel(50, f))
    end))

    it("G5: an error reaches out of 50 levels through pcall, metamethod and iterator", in_loop(function(loop)
        local f, why = neap.future(), {}
        loop:call_soon(f.set_exception, f, why)
        local ok, err = pcall(tunnel, 50, f)
        assert.is_false(ok)
        assert.equal(why, err)
    end))

    it("G5: an await may stand under 10,000 nested Lua calls", in_loop(function(loop)
        local f = neap.future()
        local function descend(n)
            if n == 0 then
                return neap.await(f)
            end
            local v = descend(n - 1)
            return v
        end
        loop:call_soon(f.set_result, f, "bottom")
        assert.equal("bottom", descend(10000))
    end))

    it("G5: an await may stand in every metamethod that calls Lua, where the engine can", in_loop(function()
        local function wait(value)
            return function()
                ticks(1)
                return value
            end
        end
        local t = setmetatable({}, {
            __index = wait "index", __add = wait "add", __sub = wait "sub", __mul = wait "mul", __div = wait "div",
            __mod = wait "mod", __unm = wait "unm", __concat = wait "concat", __lt = wait(true), __le = wait(true),
            __eq = wait(true), __call = wait "call", __newindex = wait(nil),
        })
        local u = setmetatable({}, getmetatable(t))
        assert.equal("call", t())
        if not helper.waits_anywhere then
            raises("no_yield", function() return t.anything end)
            return
        end
        assert.equal("index", t.anything)
        assert.equal("add", t + 1)
        assert.equal("sub", t - 1)
        assert.equal("mul", t * 1)
        assert.equal("div", t / 1)
        assert.equal("mod", t % 1)
        assert.equal("unm", -t)
        assert.equal("concat", t .. "x")
        assert.is_true(t < u)
        assert.is_true(t <= u)
        assert.is_true(t == u)
        t.field = 1
        assert.is_nil(rawget(t, "field"))
    end))

    it("G5: an await may stand inside xpcall, and the handler sees its error", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(f.set_exception, f, "why")
        local ok, err = xpcall(function()
            return neap.await(f)
        end, function(e)
            return "handled " .. tostring(e)
        end)
        assert.is_false(ok)
        assert.equal("handled why", err)
    end))

    it("G6: 100,000 suspended tasks all resume with their own value", in_loop(function()
        local count = 100000
        local gate, sum = neap.future(), 0
        helper.collect()
        local before = helper.memory "VmRSS"
        local tasks = {}
        for i = 1, count do
            tasks[i] = neap.spawn(function()
                local mine = i * 2
                neap.await(gate)
                sum = sum + mine
                return mine
            end)
        end
        ticks(2)
        assert.equal(count, gate:waiters())
        local each = (helper.memory "VmRSS" - before) / count
        print(("\n# G6: %.0f bytes of resident memory per suspended task (%s)"):format(each, helper.lua))
        gate:set_result(true)
        for i = 1, count do
            assert(tasks[i]:await() == i * 2)
            tasks[i] = false
        end
        assert.equal(count * (count + 1), sum)
        if not helper.sanitized then
            assert.is_true(each < 3000, "a suspended task takes " .. each .. " bytes")
        end
    end))

    it("G7: spawn takes a function, a coroutine and a callable table", in_loop(function()
        local function body(x)
            neap.yield()
            return x, "done"
        end
        local callable = setmetatable({}, {
            __call = function(_, x)
                return body(x)
            end,
        })
        for i, what in ipairs { body, coroutine.create(body), callable } do
            local x, done = neap.spawn(what, i):await()
            assert.equal(i, x)
            assert.equal("done", done)
        end
    end))

    for name, value in pairs { ["a number"] = 42, ["a string"] = "f", ["true"] = true } do
        it("G7 T13: spawning " .. name .. " is a type error that leaves no task and no report", in_loop(function()
            local before = #neap.all_tasks()
            raises("type_error", neap.spawn, value)
            assert.equal(before, #neap.all_tasks())
            ticks(2)
        end))
    end

    it("G7 T13: spawning nil says what to pass instead", in_loop(function()
        local err = raises("type_error", neap.spawn, nil)
        helper.contains("function", tostring(err))
        ticks(2)
    end))
end)

describe("task", function()
    it("T1: spawning only schedules the first step", in_loop(function()
        local ran = false
        neap.spawn(function()
            ran = true
        end)
        assert.is_false(ran)
        neap.yield()
        assert.is_true(ran)
    end))

    it("T1: tasks start in the order in which they were spawned", in_loop(function()
        local log = {}
        for i = 1, 20 do
            neap.spawn(function()
                log[#log + 1] = i
            end)
        end
        neap.yield()
        local expected = {}
        for i = 1, 20 do
            expected[i] = i
        end
        assert.same(expected, log)
    end))

    it("T2: a task can be awaited, called back and waited for like a future", in_loop(function()
        local task = neap.spawn(function()
            neap.yield()
            return "v"
        end)
        local heard
        task:add_done_callback(function(done)
            heard = done
        end)
        local done, pending = neap.wait { task }
        assert.equal(task, done[1])
        assert.equal(0, #pending)
        assert.equal("v", neap.await(task))
        assert.equal("v", task:result())
        assert.is_nil(task:exception())
        ticks(1)
        assert.equal(task, heard)
    end))

    it("T3: the trace of one await shows step, suspend, wake, step, done", in_loop(function(loop)
        local f = neap.future()
        loop:trace(true)
        local task = neap.spawn { function()
            neap.await(f)
        end, name = "traced" }
        neap.yield()
        f:set_result(1)
        task:await()
        local events = {}
        for _, entry in ipairs(loop:trace(false)) do
            if entry.task == "traced" then
                events[#events + 1] = entry.event
            end
        end
        local found = {}
        for _, event in ipairs(events) do
            if event ~= "spawn" and event ~= "settle" then
                found[#found + 1] = event
            end
        end
        assert.same({ "step", "suspend", "wake", "step", "done" }, found)
    end))

    it("T4: a failure that was awaited counts as retrieved", in_loop(function()
        local task = neap.spawn(function()
            error("seen", 0)
        end)
        local ok, err = pcall(neap.await, task)
        assert.is_false(ok)
        assert.equal("seen", err)
        ticks(3)
    end))

    it("T4: a future's failure thrown into a task and caught there is retrieved", in_loop(function()
        local f = neap.future()
        local task = neap.spawn(function()
            return pcall(neap.await, f)
        end)
        neap.yield()
        f:set_exception "x"
        local ok, err = task:await()
        assert.is_false(ok)
        assert.equal("x", err)
        ticks(3)
    end))

    for name, yield in pairs {
        ["neap.yield()"] = function() neap.yield() end,
        ["coroutine.yield()"] = function() coroutine.yield() end,
    } do
        it("T5: two tasks that call " .. name .. " alternate", in_loop(function()
            local log = {}
            local function body(letter)
                for _ = 1, 4 do
                    log[#log + 1] = letter
                    yield()
                end
            end
            local a, b = neap.spawn(body, "A"), neap.spawn(body, "B")
            a:await()
            b:await()
            assert.equal("ABABABAB", table.concat(log))
        end))

        it("T5: " .. name .. " takes one tick", in_loop(function(loop)
            local before = loop:metrics().ticks
            yield()
            assert.equal(before + 1, loop:metrics().ticks)
        end))
    end

    it("T5: a bare yield gives no value back", in_loop(function()
        assert.equal(0, select("#", coroutine.yield()))
        assert.equal(0, select("#", neap.yield()))
    end))

    for name, value in pairs {
        number = 42,
        string = "x",
        table = {},
        ["function"] = function() end,
        boolean = true,
        userdata = io.stdout,
    } do
        it("T6: yielding a " .. name .. " is refused at the yield", in_loop(function()
            local task = neap.spawn(function()
                local ok, err = pcall(coroutine.yield, value)
                assert.is_false(ok)
                neap.yield() -- the task goes on
                return err
            end)
            local err = task:await()
            assert.equal("bad_yield", err.code)
            helper.contains(name, tostring(err))
        end))
    end

    it("T6: the refusal shows the text of the value", in_loop(function()
        local err = neap.spawn(function()
            local _, err = pcall(coroutine.yield, 42)
            return err
        end):await()
        helper.contains("42", tostring(err))
    end))

    it("T6: a refused yield that nobody catches fails the task", in_loop(function()
        local task = neap.spawn(function()
            coroutine.yield(42)
        end)
        raises("bad_yield", neap.await, task)
        assert.equal("bad_yield", task:exception().code)
    end))

    it("T7: yielding a coroutine says to call the function or spawn it", in_loop(function()
        local err = neap.spawn(function()
            local _, err = pcall(coroutine.yield, coroutine.create(function() end))
            return err
        end):await()
        assert.equal("bad_yield", err.code)
        helper.contains("spawn", tostring(err))
        helper.contains("call", tostring(err))
    end))

    it("T8: yielding a future awaits it", in_loop(function(loop)
        local f = neap.future()
        loop:call_soon(f.set_result, f, "a", "b")
        local a, b = coroutine.yield(f)
        assert.equal("a", a)
        assert.equal("b", b)
    end))

    it("T8: yielding a task awaits it", in_loop(function()
        assert.equal(5, coroutine.yield(neap.spawn(function()
            neap.yield()
            return 5
        end)))
    end))

    it("T8: yielding a failed future raises at the yield", in_loop(function()
        local f = neap.future()
        f:set_exception "why"
        local ok, err = pcall(coroutine.yield, f)
        assert.is_false(ok)
        assert.equal("why", err)
    end))

    it("T8: a table that looks like a future is refused", in_loop(function()
        local real = neap.future()
        local forged = setmetatable({
            done = function() return true end,
            result = function() return 1 end,
            add_done_callback = function() end,
        }, type(getmetatable(real)) == "table" and getmetatable(real) or {})
        local err = neap.spawn(function()
            local _, err = pcall(coroutine.yield, forged)
            return err
        end):await()
        assert.equal("bad_yield", err.code)
    end))

    it("T9: a task cannot await itself", in_loop(function()
        local task = neap.spawn(function()
            local err = raises("await_self", neap.await, neap.current_task())
            neap.yield()
            return err
        end)
        assert.equal("await_self", task:await().code)
    end))

    it("T9: a task cannot yield itself", in_loop(function()
        local task = neap.spawn(function()
            local ok, err = pcall(coroutine.yield, neap.current_task())
            assert.is_false(ok)
            return err.code
        end)
        assert.equal("await_self", task:await())
    end))

    it("T10: a task cannot await a future of another loop, and the error names both loops", in_loop(function()
        local other = neap.new_loop { name = "the-other", virtual = true }
        local f = other:create_future()
        local err = raises("other_loop", neap.await, f)
        helper.contains("the-other", tostring(err))
        helper.contains("test", tostring(err))
        f:set_result(1) -- it can still complete
        assert.is_true(f:done())
        other:close()
    end))

    it("T11: a bad yield is answered in the next tick, not at once", in_loop(function()
        local log = {}
        local offender = neap.spawn(function()
            pcall(coroutine.yield, 42)
            log[#log + 1] = "error seen"
        end)
        neap.spawn(function()
            log[#log + 1] = "sibling"
        end)
        offender:await()
        assert.same({ "sibling", "error seen" }, log)
    end))

    it("T11: awaiting oneself is answered in the next tick", in_loop(function()
        local log = {}
        local offender = neap.spawn(function()
            pcall(coroutine.yield, neap.current_task())
            log[#log + 1] = "error seen"
        end)
        neap.spawn(function()
            log[#log + 1] = "sibling"
        end)
        offender:await()
        assert.same({ "sibling", "error seen" }, log)
    end))

    it("T12: the outcome of a task cannot be set from outside", in_loop(function()
        local gate = neap.future()
        local task = neap.spawn(function()
            return neap.await(gate)
        end)
        neap.yield()
        raises("task_owned", function()
            task:set_result(1)
        end)
        raises("task_owned", function()
            task:set_exception "x"
        end)
        assert.is_false(task:done())
        gate:set_result "own"
        assert.equal("own", task:await())
    end))

    it("T14: the current task is set inside a step and not inside a callback", in_loop(function(loop)
        local inside, in_callback = nil, "unset"
        local task
        task = neap.spawn(function()
            inside = neap.current_task()
            loop:call_soon(function()
                in_callback = neap.current_task()
            end)
            neap.yield()
            assert.equal(task, neap.current_task())
        end)
        task:await()
        assert.equal(task, inside)
        assert.is_nil(in_callback)
    end))

    it("T14: no task is current after an error in a step", in_loop(function(loop)
        local current = "unset"
        local task = neap.spawn(function()
            error("x", 0)
        end)
        loop:call_soon(function()
            current = neap.current_task()
        end)
        pcall(neap.await, task)
        assert.is_nil(current)
    end))

    it("T14: the current task is the same inside a nested coroutine", in_loop(function()
        local outer = neap.current_task()
        local inner = coroutine.wrap(function()
            return neap.current_task()
        end)()
        assert.equal(outer, inner)
    end))

    it("T14: no task is current outside a loop", function()
        assert.is_nil(neap.current_task())
    end)

    it("T15: all_tasks lists the live tasks in order of creation", in_loop(function()
        local main = neap.current_task()
        local gate = neap.future()
        local function wait()
            neap.await(gate)
        end
        local a, b, c = neap.spawn(wait), neap.spawn(function() end), neap.spawn(wait)
        assert.same({ main, a, b, c }, neap.all_tasks())
        neap.yield()
        assert.same({ main, a, c }, neap.all_tasks())
        gate:set_result(1)
        neap.gather(a, c)
        assert.same({ main }, neap.all_tasks())
    end))

    it("T15: all_tasks knows a new task from one that was listed before and has ended", in_loop(function()
        local main = neap.current_task()
        local kept = {}
        for _ = 1, 20 do
            local task = neap.spawn(neap.yield)
            assert.same({ main, task }, neap.all_tasks())
            assert.is_true(rawequal(task, neap.all_tasks()[2]))
            task:await()
            kept[#kept + 1] = task
        end
        assert.equal(20, #kept)
    end))

    it("T16: a child sees what its parent had set before the spawn", in_loop(function()
        local var = neap.task_local()
        assert.is_nil(var:get())
        var:set "parent"
        local seen = {}
        local child = neap.spawn(function()
            seen[1] = var:get()
            var:set "child"
            neap.yield()
            seen[2] = var:get()
        end)
        var:set "changed later"
        child:await()
        assert.same({ "parent", "child" }, seen)
        assert.equal("changed later", var:get())
    end))

    it("T16: a value survives awaits while other tasks set theirs", in_loop(function()
        local var = neap.task_local()
        local tasks = {}
        for i = 1, 10 do
            tasks[i] = neap.spawn(function()
                var:set(i)
                for _ = 1, 3 do
                    neap.sleep(0.1 * (i % 3))
                    assert.equal(i, var:get())
                end
                return var:get()
            end)
        end
        for i = 1, 10 do
            assert.equal(i, tasks[i]:await())
        end
        assert.is_nil(var:get())
    end))

    it("T16: callbacks run with the values of the task that added them", in_loop(function(loop)
        local var = neap.task_local()
        local seen = {}
        neap.spawn(function()
            var:set "child"
            loop:call_soon(function()
                seen.soon = var:get()
            end)
            loop:call_later(1, function()
                seen.later = var:get()
            end)
            local f = neap.future()
            f:add_done_callback(function()
                seen.done = var:get()
            end)
            f:set_result(1)
            var:set "too late for them"
        end):await()
        neap.sleep(2)
        assert.same({ soon = "child", later = "child", done = "child" }, seen)
    end))

    it("T16: two locals do not mix, and false is a value", in_loop(function()
        local a, b = neap.task_local(), neap.task_local()
        a:set(1)
        b:set(false)
        neap.spawn(function()
            assert.equal(1, a:get())
            assert.is_false(b:get())
            a:set(nil)
            assert.is_nil(a:get())
        end):await()
        assert.equal(1, a:get())
    end))

    local function waits_here(f)
        neap.await(f)
    end
    local function calls_it(f)
        waits_here(f)
        return true
    end

    it("T17: the stack of a task suspended three calls deep lists the three, innermost first", in_loop(function()
        local f = neap.future()
        local task = neap.spawn(function()
            calls_it(f)
            return true
        end)
        neap.yield()
        local stack = task:stack()
        local lua_frames = {}
        for _, frame in ipairs(stack) do
            if frame.line and frame.line > 0 then
                lua_frames[#lua_frames + 1] = frame
            end
        end
        assert.equal(3, #lua_frames)
        local inner = debug.getinfo(waits_here, "S").linedefined
        local middle = debug.getinfo(calls_it, "S").linedefined
        assert.equal(inner + 1, lua_frames[1].line)
        assert.equal(middle + 1, lua_frames[2].line)
        for _, frame in ipairs(lua_frames) do
            helper.contains("task_spec.lua", frame.source)
        end
        assert.equal("waits_here", lua_frames[1].name)
        f:set_result(1)
        task:await()
    end))

    it("T17: the stack of a failed task gives the failing frame", in_loop(function()
        local line = debug.getinfo(1, "l").currentline + 2
        local task = neap.spawn(function()
            error "here"
        end)
        pcall(neap.await, task)
        local stack = task:stack()
        assert.is_true(#stack >= 1)
        local found = false
        for _, frame in ipairs(stack) do
            found = found or frame.line == line
        end
        assert.is_true(found)
    end))

    it("T17: the stack of a task that has not started and of one that succeeded can be asked for", in_loop(function()
        local task = neap.spawn(function() end)
        assert.equal("table", type(task:stack()))
        task:await()
        assert.same({}, task:stack())
    end))

    it("T17: the traceback of a task shows where it waits, and where it failed", in_loop(function()
        local line = debug.getinfo(1, "l").currentline + 3
        local f = neap.future()
        local task = neap.spawn(function()
            neap.await(f)
            error("after the wait", 0)
        end)
        neap.yield()
        helper.contains("task_spec.lua:" .. line, task:traceback())
        helper.contains("task_spec.lua:" .. line - 1, task:site())
        f:set_result()
        pcall(neap.await, task)
        helper.contains("task_spec.lua:" .. line + 1, task:traceback())
    end))

    it("T18: an ordinary error is stored in the task", in_loop(function()
        local task = neap.spawn(function()
            error("x", 0)
        end)
        pcall(neap.await, task)
        assert.is_true(task:done())
        assert.is_false(task:cancelled())
        assert.equal("x", task:exception())
    end))

    -- A task class as a user would write it, over nothing but futures and call_soon.
    local Task = {}
    Task.__index = Task

    function Task.new(loop, fn)
        local self = setmetatable({ loop = loop, future = loop:create_future() }, Task)
        self.coroutine = coroutine.create(fn)
        loop:call_soon(self.step, self)
        return self
    end

    function Task:step(...)
        local ok, yielded = coroutine.resume(self.coroutine, ...)
        if not ok then
            self.future:set_exception(yielded)
        elseif coroutine.status(self.coroutine) == "dead" then
            self.future:set_result(yielded)
        else
            yielded:add_done_callback(function(f)
                self:step(f:result())
            end)
        end
    end

    it("T20: a task class written by hand runs beside native tasks", in_loop(function(loop)
        local log = {}
        local foo = Task.new(loop, function()
            local timeout = loop:create_future()
            loop:call_later(3, timeout.set_result, timeout)
            coroutine.yield(timeout)
            log[#log + 1] = "Hello Foo"
        end)
        local bar = loop:create_task(function()
            neap.sleep(1)
            log[#log + 1] = "Hello Bar"
        end)
        local done, pending = neap.wait { foo.future, bar }
        assert.equal(2, #done)
        assert.equal(0, #pending)
        assert.same({ "Hello Bar", "Hello Foo" }, log)
        assert.equal(3, loop:time())
    end))

    it("T21: a failed task that is dropped leaves no object", in_loop(function(loop, reports)
        helper.collect()
        local before = loop:metrics().objects
        for _ = 1, 50 do
            neap.spawn(function()
                local big = {}
                neap.yield()
                error(big)
            end)
        end
        ticks(4)
        assert.equal(50, #reports)
        for i = #reports, 1, -1 do
            reports[i] = nil
        end
        helper.collect()
        ticks(1)
        helper.collect()
        assert.equal(before, loop:metrics().objects)
    end, { reports = true }))

    it("T22: closing a loop reports each suspended task once, by name and place", function()
        local loop = neap.new_loop { virtual = true }
        local reports = {}
        loop:on_error(function(report)
            reports[#reports + 1] = { kind = report.kind, task = report.task and report.task:name(),
                text = tostring(report.message) .. tostring(report.traceback) }
        end)
        local line = debug.getinfo(1, "l").currentline + 2
        loop:create_task(function()
            neap.spawn { function() neap.future():await() end, name = "sleeper" }
            neap.yield()
        end)
        loop:run_once(0)
        loop:run_once(0)
        loop:run_once(0)
        loop:close()
        assert.equal(1, #reports)
        assert.equal("pending", reports[1].kind)
        assert.equal("sleeper", reports[1].task)
        helper.contains("task_spec.lua:" .. line, reports[1].text)
    end)

    it("T22: run does not report its own main task", function()
        local reports = {}
        assert.has_error(function()
            neap.run { function()
                neap.loop():on_error(function(report)
                    reports[#reports + 1] = report.kind
                end)
                neap.loop():call_soon(function()
                    neap.loop():stop()
                end)
                neap.sleep(10)
            end, virtual = true }
        end)
        assert.same({}, reports)
    end)

    it("T2: a task has a name, given or made up, that can be changed", in_loop(function()
        local named = neap.spawn { function() end, name = "worker" }
        local plain = neap.spawn(function() end)
        assert.equal("worker", named:name())
        assert.is_true(#plain:name() > 0)
        plain:set_name "renamed"
        assert.equal("renamed", plain:name())
        helper.contains("worker", tostring(named))
        neap.gather(named, plain)
        assert.equal("worker", named:name())
    end))

    it("G7: the table form of spawn passes its arguments to the function", in_loop(function()
        local got = helper.pack(neap.spawn { function(...)
            return ...
        end, 1, "two", name = "args" }:await())
        assert.same({ n = 2, 1, "two" }, got)
    end))

    it("G7: an unknown option of spawn is refused", in_loop(function()
        assert.has_error(function()
            neap.spawn { function() end, nmae = "typo" }
        end)
        assert.equal(1, #neap.all_tasks())
    end))
end)

describe("a task that has ended with values", function()
    local function ended(...)
        local values = helper.pack(...)
        local task = neap.spawn(function() return helper.unpack(values, 1, values.n) end)
        task:await()
        neap.yield()
        return task
    end

    it("lets go of the core at once, also while scripts hold it", in_loop(function(loop)
        local before = loop:metrics().objects
        local kept = {}
        for i = 1, 100 do kept[i] = neap.spawn(function() return i end) end
        ticks(2)
        assert.equal(before, loop:metrics().objects)
        assert.equal(100, kept[100]:result())
    end))

    for name, values in pairs {
        none = { n = 0 }, ["nil"] = { n = 1 }, ["a number"] = { n = 1, 7.5 }, ["a string"] = { n = 1, "a\0b" },
        ["a table"] = { n = 1, {} }, ["several values"] = { n = 4, 1, nil, "x", nil },
    } do
        it("gives " .. name .. " to whoever asks later", in_loop(function()
            local task = ended(helper.unpack(values, 1, values.n))
            local function same(...)
                local got = helper.pack(...)
                assert.equal(values.n, got.n)
                for i = 1, values.n do assert.equal(values[i], got[i]) end
            end
            same(task:result())
            same(task:await())
            same(neap.await(task))
            same(neap.wait_for(task, 1))
            same(neap.shield(task):await())
            assert.equal(values[1], neap.gather(task)[1])
            same(task:result())
        end))
    end

    it("is in the list of what is done, itself", in_loop(function()
        local task, pending = ended(1), neap.future()
        local done, rest = neap.wait({ pending, task }, { return_when = "first_completed" })
        assert.equal(task, done[1])
        assert.equal(pending, rest[1])
    end))

    it("calls a callback that is added later", in_loop(function()
        local task, got = ended "late", nil
        task:add_done_callback(function(f) got = f end)
        ticks(2)
        assert.equal(task, got)
        assert.equal("late", got:result())
    end))

    it("keeps its name, its number and its site", in_loop(function()
        local line = debug.getinfo(1, "l").currentline
        local named = neap.spawn { function() end, name = "the task" }
        local renamed, plain = neap.spawn(function() end), neap.spawn(function() end)
        renamed:set_name "another"
        local number = plain:name()
        ticks(2)
        assert.equal("the task", named:name())
        assert.equal("another", renamed:name())
        assert.equal(number, plain:name())
        plain:set_name "late"
        assert.equal("late", plain:name())
        assert.matches("task_spec.lua:" .. line + 1 .. "$", named:site())
        assert.matches("the task %(done%)", tostring(named))
        assert.same({}, named:stack())
        assert.is_nil(named:traceback())
    end))

    it("F8: cannot be cancelled any more", in_loop(function()
        local task = ended(1)
        assert.is_false(task:cancel())
        assert.is_false(task:cancelled())
        assert.is_nil(task:exception())
        assert.equal(0, task:waiters())
        assert.equal(task, task:ignore())
    end))

    it("lets those go on that waited for it", in_loop(function()
        local inner = neap.spawn(function()
            neap.yield()
            return { "value" }
        end)
        local waiting = {}
        for i = 1, 3 do waiting[i] = neap.spawn(function() return (inner:await()) end) end
        local value = inner:await()
        for i = 1, 3 do assert.equal(value, waiting[i]:await()) end
    end))

    it("leaves nothing behind when it failed or was cancelled and nobody holds it", in_loop(function(loop)
        collectgarbage()
        collectgarbage()
        local before = loop:metrics().objects
        for _ = 1, 50 do
            neap.spawn(function() error "ignored" end):ignore()
            neap.spawn(function() neap.sleep(1000) end):cancel()
            local waiting = neap.spawn(function() neap.sleep(1000) end)
            neap.yield()
            waiting:cancel "in its sleep"
        end
        ticks(4)
        collectgarbage()
        collectgarbage()
        assert.equal(before, loop:metrics().objects)
    end))
end)

describe("a task that failed", function()
    it("answers a finalizer that sees it after it has gone", in_loop(function()
        local answers = {}
        local function ask(task)
            answers[#answers + 1] = select(2, pcall(task.exception, task)).code
            answers[#answers + 1] = select(2, pcall(task.await, task)).code
            answers[#answers + 1] = select(2, pcall(task.name, task)).code
        end
        local function leave()
            local holder
            if newproxy then
                holder = newproxy(true)
                local meta = getmetatable(holder)
                meta.__gc = function() ask(meta.task) end
            else
                holder = setmetatable({}, { __gc = function(self) ask(self.task) end })
            end
            local task = neap.spawn(function() error "x" end)
            if newproxy then getmetatable(holder).task = task else holder.task = task end
            task:ignore()
            ticks(3)
        end
        leave()
        helper.collect()
        assert.equal(3, #answers)
        for _, code in ipairs(answers) do assert.is_true(code == "closed" or code == nil) end
    end))
end)

describe("a sleeping task", function()
    it("C2: hears a cancellation in its sleep and before it", in_loop(function()
        local log = {}
        local function sleeper()
            local ok, err = pcall(neap.sleep, 1000)
            log[#log + 1] = tostring(ok) .. " " .. tostring(neap.is_cancelled(err)) .. " " .. err.message
            error(err)
        end
        local task = neap.spawn(sleeper)
        neap.yield()
        task:cancel "wake up"
        ticks(2)
        assert.same({ "false true wake up" }, log)
        assert.is_true(task:cancelled())
        local early
        early = neap.spawn(function()
            early:cancel "before"
            sleeper()
        end)
        ticks(3)
        assert.equal("false true before", log[2])
        assert.is_true(early:cancelled())
    end))

    it("M4: leaves no timer behind when it is cancelled", in_loop(function(loop)
        local before = loop:metrics().timers
        local tasks = {}
        for i = 1, 20 do tasks[i] = neap.spawn(function() neap.sleep(1000) end) end
        neap.yield()
        assert.equal(before + 20, loop:metrics().timers)
        for i = 1, 20 do tasks[i]:cancel() end
        assert.equal(before, loop:metrics().timers)
        ticks(2)
        assert.is_true(tasks[20]:cancelled())
    end))
end)
