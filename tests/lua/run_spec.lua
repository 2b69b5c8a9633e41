-- run: a loop of its own, its clean-up, its refusals; exit; deadlock.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local raises = helper.raises

-- Runs a main function on a virtual clock and collects the reports of its loop.
local function run_reporting(options)
    local reports = {}
    local main = options[1]
    options[1] = function(...)
        neap.loop():on_error(function(report)
            reports[#reports + 1] = {
                kind = report.kind,
                task = report.task and report.task:name(),
                error = report.error,
                text = tostring(report.message) .. tostring(report.traceback),
            }
        end)
        return main(...)
    end
    options.virtual = true
    local result = helper.pack(pcall(neap.run, options))
    return reports, result
end

describe("run", function()
    it("R1: run gives the results of the function", function()
        local a, b = neap.run(function(x, y)
            neap.yield()
            return x + y, "sum"
        end, 3, 4)
        assert.equal(7, a)
        assert.equal("sum", b)
    end)

    it("R1: run leaves no descriptor, no current task and a closed loop", function()
        helper.collect()
        local fds = helper.count_descriptors()
        local loop
        neap.run(function()
            loop = neap.loop()
            neap.tcp():bind "127.0.0.1:0"
            neap.sleep(0.001)
        end)
        raises("loop_closed", loop.call_soon, loop, print)
        assert.is_nil(neap.current_task())
        local ok, err = pcall(neap.sleep, 0)
        assert.is_false(ok)
        assert.is_true(err.code == "no_task" or err.code == "no_loop")
        helper.collect()
        assert.equal(fds, helper.count_descriptors())
    end)

    it("R1: run raises the failure of the function, the very value", function()
        local why = { "why" }
        local ok, err = pcall(neap.run, function()
            neap.yield()
            error(why)
        end)
        assert.is_false(ok)
        assert.equal(why, err)
    end)

    it("R1: run may be called again and again", function()
        for i = 1, 20 do
            assert.equal(i, neap.run(function()
                neap.yield()
                return i
            end))
        end
    end)

    it("R1: run takes a coroutine and a callable table as well", function()
        assert.equal(5, neap.run(coroutine.create(function(x)
            neap.yield()
            return x
        end), 5))
        assert.equal(6, neap.run(setmetatable({}, {
            __call = function(_, x)
                neap.yield()
                return x
            end,
        }), 6))
    end)

    it("R1: run adopts the state's loop if it is idle", function()
        local loop = neap.loop()
        local log = {}
        loop:call_soon(function()
            log[#log + 1] = "queued before"
        end)
        neap.run(function()
            assert.equal(loop, neap.loop())
            neap.yield()
            log[#log + 1] = "main"
        end)
        assert.same({ "queued before", "main" }, log)
    end)

    it("R2: run inside a running loop is refused and nothing is started", function()
        local started = false
        neap.run(function()
            raises("loop_running", neap.run, function()
                started = true
            end)
            neap.sleep(0)
        end)
        assert.is_false(started)
    end)

    for name, value in pairs { number = 3, string = "f", boolean = true } do
        it("R3: run refuses a " .. name, function()
            raises("type_error", neap.run, value)
        end)
    end

    it("R3: run refuses nil and an empty option table, and no loop is left", function()
        helper.collect()
        local fds = helper.count_descriptors()
        raises("type_error", neap.run, nil)
        raises("type_error", neap.run, {})
        helper.collect()
        assert.equal(fds, helper.count_descriptors())
    end)

    it("R3: run refuses an unknown option", function()
        assert.has_error(function()
            neap.run { function() end, debgu = true }
        end)
    end)

    it("R4: main ends, then tasks are cancelled, clean up, and only then the loop closes", function()
        local log = {}
        local loop
        neap.run { function()
            loop = neap.loop()
            neap.spawn(function()
                local ok = pcall(neap.sleep, 100)
                log[#log + 1] = ok and "slept" or "cancelled"
                neap.sleep(1)
                log[#log + 1] = pcall(loop.call_soon, loop, print) and "loop open" or "loop closed"
            end)
            neap.yield()
            log[#log + 1] = "main ends"
        end, virtual = true, grace = 10 }
        log[#log + 1] = pcall(loop.call_soon, loop, print) and "loop open" or "loop closed"
        assert.same({ "main ends", "cancelled", "loop open", "loop closed" }, log)
    end)

    it("R4: a failing cleanup still ends with the loop closed and the others cleaned up", function()
        local log = {}
        local loop
        local reports, result = run_reporting { function()
            loop = neap.loop()
            neap.spawn { function()
                pcall(neap.sleep, 100)
                error("cleanup broke", 0)
            end, name = "bad" }
            neap.spawn(function()
                pcall(neap.sleep, 100)
                log[#log + 1] = "other cleaned up"
            end)
            neap.yield()
            return "value of main"
        end }
        assert.is_true(result[1])
        assert.equal("value of main", result[2])
        assert.same({ "other cleaned up" }, log)
        assert.equal(1, #reports)
        assert.equal("unhandled", reports[1].kind)
        assert.equal("bad", reports[1].task)
        assert.equal("cleanup broke", reports[1].error)
        raises("loop_closed", loop.call_soon, loop, print)
    end)

    it("R4: tasks that the cleanup spawns are ended as well", function()
        local child
        local reports, result = run_reporting { function()
            neap.spawn(function()
                pcall(neap.sleep, 100)
                child = neap.spawn(neap.sleep, 1000)
                pcall(neap.await, child)
            end)
            neap.yield()
        end, grace = 100 }
        assert.is_true(result[1])
        assert.is_true(child:cancelled())
        assert.same({}, reports)
    end)

    it("R4: what outlives the grace is aborted and named, and run ends", function()
        local loop_time
        local reports, result = run_reporting { function()
            local loop = neap.loop()
            neap.spawn { function()
                while true do
                    pcall(neap.sleep, 1)
                    loop_time = loop:time()
                end
            end, name = "stubborn" }
            neap.yield()
        end, grace = 3 }
        assert.is_true(result[1])
        assert.is_true(loop_time <= 4)
        local kinds = {}
        for _, report in ipairs(reports) do
            kinds[#kinds + 1] = report.kind .. " " .. report.task
        end
        assert.same({ "aborted stubborn" }, kinds)
    end)

    it("R4: a failing main function is cleaned up after as well", function()
        local cleaned = false
        local _, result = run_reporting { function()
            neap.spawn(function()
                pcall(neap.sleep, 100)
                cleaned = true
            end)
            neap.yield()
            error("main broke", 0)
        end }
        assert.is_false(result[1])
        assert.equal("main broke", result[2])
        assert.is_true(cleaned)
    end)

    it("R5: debug is on only inside", function()
        local loop
        neap.run { function()
            loop = neap.loop()
            assert.is_true(loop:debug())
        end, debug = true }
        neap.run(function()
            assert.is_false(neap.loop():debug())
        end)
    end)

    it("R5: the option table passes its arguments on", function()
        local got = helper.pack(neap.run { function(...)
            return ...
        end, 1, "two", virtual = true })
        assert.same({ n = 2, 1, "two" }, got)
    end)

    it("R5: the backend can be named", function()
        for _, name in ipairs { "epoll", "poll" } do
            assert.equal(name, neap.run { function()
                return neap.loop():backend()
            end, backend = name })
        end
    end)

    it("R5: the environment names the backend of a run that does not", function()
        local text = [[
            local neap = require "neap"
            neap.run(function() print(neap.loop():backend()) end)
        ]]
        for _, name in ipairs { "epoll", "poll" } do
            local result = process.run_lua(text, { env = { NEAP_BACKEND = name } })
            assert.equal(name .. "\n", result.out)
        end
    end)

    it("R6: a coroutine that belongs to a task cannot be spawned again", function()
        neap.run(function()
            local co = coroutine.create(function()
                neap.yield()
            end)
            local task = neap.spawn(co)
            raises("already_owned", neap.spawn, co)
            neap.yield()
            raises("already_owned", neap.spawn, co)
            task:await()
            assert.equal(1, #neap.all_tasks())
        end)
    end)

    it("R6: the coroutine under a task cannot be spawned again", function()
        neap.run(function()
            local co
            local task = neap.spawn(function()
                co = coroutine.running()
                neap.yield()
                return "went on"
            end)
            neap.yield()
            raises("already_owned", neap.spawn, co)
            assert.equal("went on", task:await())
        end)
    end)

    it("R6: a dead coroutine and one that has started cannot become tasks", function()
        neap.run(function()
            local dead = coroutine.create(function() end)
            coroutine.resume(dead)
            assert.has_error(function() neap.spawn(dead) end)
            assert.has_error(function() neap.spawn(coroutine.running()) end)
            assert.equal(1, #neap.all_tasks())
        end)
    end)

    it("P1: the loop seen inside is the one that runs", function()
        neap.run(function()
            local loop = neap.loop()
            assert.equal(loop, neap.loop())
            loop:call_soon(function()
                assert.equal(loop, neap.loop())
            end)
            neap.yield()
        end)
    end)

    it("P1: each Lua state has its own current loop", function()
        -- Two interpreters side by side are two processes here; the C tests run two states in one.
        local result = process.run_lua [[
            local neap = require "neap"
            local a, b = neap.new_loop {}, neap.new_loop {}
            a:run_until_complete(function() assert(neap.loop() == a) end)
            b:run_until_complete(function() assert(neap.loop() == b) end)
            a:close() b:close()
            print "ok"
        ]]
        assert.equal("ok\n", result.out)
    end)

    for name, call in pairs {
        sleep = function() neap.sleep(1) end,
        yield = function() neap.yield() end,
        await = function() neap.await(neap.future()) end,
        gather = function() neap.gather(neap.future()) end,
        wait = function() neap.wait { neap.future() } end,
        wait_for = function() neap.wait_for(neap.future(), 1) end,
        recv = function() neap.tcp():recv(1) end,
    } do
        it("P2: " .. name .. " outside a running loop is refused", function()
            local ok, err = pcall(call)
            assert.is_false(ok)
            assert.is_true(err.code == "no_task" or err.code == "no_loop", tostring(err))
        end)

        it("P2: " .. name .. " in a callback is refused", function()
            neap.run(function()
                local f, got = neap.future(), nil
                neap.loop():call_soon(function()
                    local _, err = pcall(call)
                    got = err
                    f:set_result()
                end)
                f:await()
                assert.equal("no_task", got.code)
            end)
        end)
    end
end)

describe("exit", function()
    it("T18: exit ends the run with its status after the clean-up, other tasks cancelled", function()
        local result = process.run_neap [[
            local neap = require "neap"
            neap.spawn(function()
                local ok, err = pcall(neap.sleep, 100)
                print("cleaned up", neap.is_cancelled(err))
            end)
            neap.spawn(function()
                neap.exit(3)
                print "not reached"
            end)
            neap.sleep(100)
            print "not reached"
        ]]
        assert.equal("cleaned up\ttrue\n", result.out)
        assert.equal("", result.err)
        assert.equal(3, result.code)
    end)

    it("T18: exit leaves the rest of the batch queued", function()
        local result = process.run_neap [[
            local neap = require "neap"
            local log = {}
            neap.spawn(function() neap.exit(0) end)
            neap.spawn(function()
                -- Not entered in the batch of the exit; cancelled before its first step.
                print "not reached"
            end)
            neap.sleep(100)
        ]]
        assert.equal("", result.out)
        assert.equal(0, result.code)
    end)

    it("T18: exit in the main function ends the program with that status", function()
        local result = process.run_neap [[
            local neap = require "neap"
            neap.exit(7)
        ]]
        assert.equal(7, result.code)
        assert.equal("", result.err)
    end)

    it("T18: exit cannot be swallowed by pcall", function()
        local result = process.run_neap [[
            local neap = require "neap"
            pcall(neap.exit, 4)
            while true do
                pcall(neap.sleep, 0.01)
            end
        ]]
        assert.equal(4, result.code)
    end)

    it("T18: in a stock interpreter exit leaves run with its status, after the clean-up", function()
        local cleaned = false
        local status = neap.run(function()
            neap.spawn(function()
                pcall(neap.sleep, 100)
                cleaned = true
            end)
            neap.spawn(function()
                neap.exit(3)
            end)
            neap.sleep(100)
        end)
        assert.equal(3, status)
        assert.is_true(cleaned)
    end)
end)

describe("deadlock", function()
    it("R4: a main function that nothing can wake ends with an error", function()
        local err = raises("deadlock", neap.run, function()
            neap.future():await()
        end)
        assert.is_true(#tostring(err) > 0)
    end)

    it("T9: two tasks that await each other are a deadlock, and the report names both", function()
        local reports, result = run_reporting { function()
            local a, b
            a = neap.spawn { function() neap.await(b) end, name = "task-a" }
            b = neap.spawn { function() neap.await(a) end, name = "task-b" }
            neap.await(a)
        end }
        assert.is_false(result[1])
        assert.equal("deadlock", result[2].code)
        local text = tostring(result[2])
        for _, report in ipairs(reports) do
            text = text .. report.text
        end
        helper.contains("task-a", text)
        helper.contains("task-b", text)
        helper.contains("in a ring: task-a -> task-b -> task-a", text)
    end)

    it("R4: a task that waits for a descriptor is no deadlock", function()
        neap.run(function()
            local a, b = neap.socketpair()
            neap.spawn(function()
                neap.sleep(0.01)
                b:sendall "x"
            end)
            assert.equal("x", a:recv(1))
            a:close()
            b:close()
        end)
    end)

    it("R4: a deadlock of a background task does not end the main function", function()
        assert.equal("fine", neap.run { function()
            neap.spawn(function()
                neap.future():await()
            end)
            neap.sleep(5)
            return "fine"
        end, virtual = true })
    end)
end)
