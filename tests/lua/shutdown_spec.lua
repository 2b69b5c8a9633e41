-- The end of a run: who is told, graces, cancellation, abort, and that it comes whatever the tasks do.  Loops to 1e11
-- stand for those without an end, so that a program which is not ended in time ends by itself.
local neap = require "neap"
local helper = require "support.helper"
local process = require "support.process"
local raises = helper.raises

-- Runs a main function on a virtual clock; answers the log that it wrote and what run gave.  log(word) notes a word
-- and the time at which it came.
local function run(main, options)
    local log = {}
    options = options or {}
    options.virtual = true
    options[1] = function(...)
        local loop = neap.loop()
        loop:on_error(function(report)
            log[#log + 1] = report.kind .. " " .. (report.task and report.task:name() or "?")
        end)
        return main(function(word)
            log[#log + 1] = ("%s %g"):format(word, loop:time())
        end, ...)
    end
    local result = helper.pack(pcall(neap.run, options))
    return log, result
end

-- A task that runs to its end unless it is cancelled.
local function work(log, name, seconds)
    return neap.spawn { function()
        local ok, err = pcall(neap.sleep, seconds)
        log(ok and name .. " ends" or name .. " is cancelled")
        if not ok then error(err, 0) end
    end, name = name }
end

describe("shutdown", function()
    it("D16: intake stops, tasks may end by themselves, are cancelled, may clean up, are aborted", function()
        local log, result = run(function(log)
            neap.on_shutdown(log, "hook")
            work(log, "quick", 2)
            neap.spawn { function()
                while true do
                    pcall(neap.sleep, 100)
                end
            end, name = "stubborn" }
            neap.spawn(function()
                pcall(neap.sleep, 100)
                neap.sleep(1)
                log "cleaned up"
            end)
            neap.shutdown "enough"
            local ok, err = pcall(neap.sleep, 100)
            log(ok and "slept" or err.message)
            error(err, 0)
        end, { stop_grace = 3, grace = 4 })
        assert.same({ "hook 0", "quick ends 2", "enough 3", "cleaned up 4", "aborted stubborn" }, log)
        assert.same({ n = 1, true }, result)
    end)

    it("D16: nobody who listens, no time to end by oneself", function()
        local log = run(function(log)
            work(log, "task", 1)
            neap.yield()
            neap.shutdown()
            neap.sleep(5)
            log "not reached"
        end)
        assert.same({ "task is cancelled 0" }, log)
    end)

    it("D16: with a hook there are ten seconds, also without an option", function()
        local log = run(function(log)
            neap.on_shutdown(function() end)
            work(log, "quick", 9)
            work(log, "slow", 11)
            neap.yield()
            neap.shutdown()
        end)
        assert.same({ "quick ends 9", "slow is cancelled 10" }, log)
    end)

    it("D16: an accept loop ends when a hook closes its listener, and connections are served to their end", function()
        local served
        neap.run(function()
            local listener = neap.tcp()
            assert(listener:bind "127.0.0.1:0")
            assert(listener:listen())
            local client = neap.tcp()
            neap.on_shutdown(function() listener:close() end)
            neap.spawn(function()
                assert(client:connect(listener:getsockname()))
                neap.sleep(0.01) -- so that it is accepted
                neap.shutdown()
                neap.sleep(0.01)
                client:sendall "late"
                served = client:recv(10)
                client:close()
            end)
            while true do
                local conn, err = listener:accept()
                if not conn then
                    assert.equal("closed", err.code)
                    break
                end
                neap.spawn { function()
                    conn:sendall(conn:recv(10))
                    conn:close()
                end, owns = { conn } }
            end
        end)
        assert.equal("late", served)
    end)

    it("D16: the main function may wait for the end of the program", function()
        local log, result = run(function(log)
            neap.spawn(function()
                neap.sleep(3)
                assert.is_false(neap.shutting_down())
                assert.is_true(neap.shutdown())
                assert.is_false(neap.shutdown())
                assert.is_true(neap.shutting_down())
                neap.sleep(1)
                log "task"
            end)
            neap.wait_shutdown()
            log "told"
            neap.wait_shutdown() -- no second wait
            return "value"
        end)
        assert.same({ "told 3", "task 4" }, log)
        assert.same({ n = 2, true, "value" }, result)
    end)

    it("D16: who waits for the end of the program can be cancelled", function()
        run(function()
            local task = neap.spawn(neap.wait_shutdown)
            neap.yield()
            task:cancel()
            raises("cancelled", task.await, task)
            assert.is_nil(neap.move_on(1, neap.wait_shutdown))
        end)
    end)

    it("D16: hooks run once, in order, unless they are cancelled", function()
        local log = run(function(log)
            neap.on_shutdown(log, "a")
            local b = neap.on_shutdown(log, "b")
            neap.loop():on_shutdown(log, "c")
            neap.on_shutdown(function() error "broken" end)
            neap.on_shutdown(log, "d")
            assert.is_true(b:cancel())
        end)
        assert.same({ "a 0", "c 0", "callback ?", "d 0" }, log)
    end)

    it("D16: a failing main function runs the hooks, too", function()
        local log, result = run(function(log)
            neap.on_shutdown(log, "hook")
            error("broken", 0)
        end)
        assert.same({ "hook 0" }, log)
        assert.same({ n = 2, false, "broken" }, result)
    end)

    it("D16: a hook registered during the shutdown runs", function()
        local log = run(function(log)
            neap.on_shutdown(function()
                neap.on_shutdown(log, "second")
                log "first"
            end)
        end)
        assert.same({ "first 0", "second 0" }, log)
    end)

    it("D16: when main ends the others are cancelled at once, unless stop_grace gives them time", function()
        local function main(log)
            neap.on_shutdown(log, "hook")
            work(log, "task", 2)
            neap.yield()
        end
        assert.same({ "hook 0", "task is cancelled 0" }, (run(main)))
        assert.same({ "hook 0", "task ends 2" }, (run(main, { stop_grace = 5 })))
        assert.same({ "hook 0", "task is cancelled 1" }, (run(main, { stop_grace = 1 })))
    end)

    it("D16: main is cancelled first, the others when it has ended", function()
        local log = run(function(log)
            neap.spawn(function()
                pcall(neap.sleep, 100)
                log "other"
            end)
            neap.shutdown()
            pcall(neap.sleep, 100)
            neap.sleep(2)
            log "main"
        end)
        assert.same({ "main 2", "other 2" }, log)
    end)

    it("D16: a main function that swallows each cancellation ends with its grace", function()
        local log, result = run(function(log)
            neap.spawn(function()
                pcall(neap.sleep, 100)
                log "other"
            end)
            neap.shutdown()
            while true do
                pcall(neap.sleep, 1)
            end
        end, { grace = 3 })
        assert.same({ "other 3", "aborted main" }, log)
        assert.is_true(result[1])
    end)

    it("D16: tasks that are spawned while it shuts down are cancelled as well", function()
        local child, hooks
        local log = run(function(log)
            neap.spawn(function()
                pcall(neap.sleep, 100)
                child = work(log, "child", 50)
                pcall(child.await, child)
            end)
            neap.on_shutdown(function() hooks = work(log, "hook's", 50) end)
            neap.yield()
        end)
        assert.same({}, log)
        assert.is_true(child:cancelled())
        assert.is_true(hooks:cancelled())
    end)

    it("D18: a shield keeps the end out until its deadline, and no longer", function()
        local log = run(function(log)
            neap.spawn { function()
                pcall(neap.shielded, 2, function()
                    neap.sleep(50)
                    log "not reached"
                end)
                log "shield is over"
            end, name = "shielded" }
            neap.yield()
        end)
        assert.same({ "shield is over 2" }, log)
    end)

    it("D18: a shield that is longer than the grace ends with the grace", function()
        local log = run(function()
            neap.spawn { neap.shielded, 1000, neap.sleep, 1000, name = "shielded" }
            neap.yield()
        end, { grace = 3 })
        assert.same({ "aborted shielded" }, log)
    end)

    it("D16: exit during the shutdown gives the run its status", function()
        local _, result = run(function()
            neap.spawn(function()
                pcall(neap.sleep, 100)
                neap.exit(4)
            end)
            neap.yield()
        end)
        assert.same({ n = 2, true, 4 }, result)
    end)

    it("D16: without a run there is nothing to shut down", function()
        raises("no_loop", neap.shutdown)
        assert.is_false(neap.shutting_down())
        raises("type_error", neap.on_shutdown)
        raises("type_error", neap.on_shutdown, 3)
    end)

    it("D16: in a loop that is run by hand those who listen are told, no more", helper.in_loop(function(loop)
        local told = false
        loop:on_shutdown(function() told = true end)
        assert.is_true(neap.shutdown())
        neap.sleep(1)
        assert.is_true(told)
        assert.is_true(neap.shutting_down())
    end))

    it("D16: a background task that computes for ever is interrupted when the grace is over", function()
        local kinds = {}
        neap.run { function()
            neap.loop():on_slow(false)
            neap.loop():on_error(function(report)
                kinds[#kinds + 1] = report.kind .. " " .. report.task:name()
                helper.contains("shutdown_spec", report.traceback)
            end)
            neap.spawn { function()
                pcall(neap.sleep, 1000)
                for _ = 1, 1e11 do end
            end, name = "spinner" }
            neap.yield()
        end, grace = 0.05 }
        assert.same({ "aborted spinner" }, kinds)
    end)

    it("D16: one that catches the interruption is interrupted again", function()
        local caught, cleaned = 0, false
        neap.run { function()
            local loop = neap.loop()
            loop:on_error(function() end)
            neap.spawn(function()
                pcall(neap.sleep, 1000)
                for _ = 1, 3 do
                    pcall(function() for _ = 1, 1e11 do end end)
                    caught = caught + 1
                end
                for _ = 1, 1e11 do end
            end)
            neap.spawn(function()
                pcall(neap.sleep, 1000)
                cleaned = true
            end)
            neap.yield()
        end, grace = 0.05 }
        assert.is_true(caught >= 0)
        assert.is_true(cleaned)
    end)

    it("D16: inside a coroutine of the script it is interrupted as well", function()
        local ended = false
        neap.run { function()
            neap.loop():on_error(function() end)
            local function spin()
                neap.yield()
                pcall(neap.sleep, 1000)
                for _ = 1, 1e11 do end
            end
            neap.spawn(function()
                coroutine.wrap(spin)()
            end)
            neap.spawn(function()
                coroutine.resume(coroutine.create(spin))
                for _ = 1, 1e11 do end
            end)
            neap.spawn(function()
                pcall(neap.sleep, 1000)
                ended = true
            end)
            neap.sleep(0.01)
        end, grace = 0.05 }
        assert.is_true(ended)
    end)

    it("D16: a callback that computes for ever is interrupted as well", function()
        local kinds = {}
        neap.run { function()
            neap.loop():on_slow(false)
            neap.loop():on_error(function(report)
                kinds[#kinds + 1] = report.kind
            end)
            neap.on_shutdown(function() for _ = 1, 1e11 do end end)
        end, grace = 0.05 }
        assert.same({ "callback" }, kinds)
    end)

    it("D16: afterwards nothing is interrupted, and hooks of others stay", function()
        neap.run { function()
            neap.spawn(neap.sleep, 1000)
            neap.yield()
        end, grace = 0.001 }
        assert.is_nil((debug.gethook()))
        local sum = 0
        neap.run(function()
            for i = 1, 3000000 do sum = sum + i end
            assert.is_nil((debug.gethook()))
        end)
        assert.equal(4500001500000, sum)
    end)
end)

describe("shutdown of a program", function()
    local function start(text)
        local head = "io.stdout:setvbuf 'line'\nlocal neap = require 'neap'\n"
        local child = process.start_lua(head .. text, { command = true })
        child:await_line "started (%w+)"
        return child
    end

    local function ends(child, code)
        assert.equal(code, child:wait())
        local out, err = child:out(), child:err()
        child:dispose()
        return out, err
    end

    it("D16: the first signal runs the hooks, and tasks may end by themselves", function()
        local child = start [[
            neap.on_shutdown(print, "hook")
            neap.spawn(function()
                neap.wait_shutdown()
                neap.sleep(0.05)
                print "ended by itself"
            end)
            print "started now"
            neap.wait_shutdown()
            print "main ends"
        ]]
        child:signal "TERM"
        assert.equal("started now\nhook\nmain ends\nended by itself\n", ends(child, 0))
    end)

    it("D16: who does not end by himself is cancelled; the exit status is the signal's", function()
        local child = start [[
            neap.spawn(function()
                neap.wait_shutdown()
                print "told"
            end)
            local ok, err = pcall(function()
                print "started now"
                neap.sleep(1000)
            end)
            print("main", err.message)
            error(err, 0)
        ]]
        child:signal "TERM"
        child:await_line "(told)"
        child:signal "TERM" -- not for ten seconds
        local out = ends(child, 143)
        helper.contains("main\tterminated\n", out)
    end)

    it("D16: while it waits it names the tasks once a second", function()
        local child = start [[
            neap.spawn { function()
                pcall(neap.sleep, 1000)
                neap.sleep(1.5)
                print "cleaned up"
            end, name = "slow cleaner" }
            print "started now"
            neap.sleep(1000)
        ]]
        child:signal "INT"
        local out, err = ends(child, 130)
        helper.contains("cleaned up\n", out)
        helper.contains("neap: shutdown waits for 1 task after 1.", err)
        helper.contains("slow cleaner", err)
    end)

    it("D16: neap.shutdown ends the program with status 0", function()
        local result = process.run_neap [[
            local neap = require "neap"
            neap.spawn(function()
                neap.shutdown()
            end)
            neap.sleep(1000)
            print "not reached"
        ]]
        assert.equal("", result.out)
        assert.equal("", result.err)
        assert.equal(0, result.code)
    end)

    -- In a stock interpreter, whose run asks for signals and has a short grace.
    local function start_short(main)
        local child = process.start_lua("io.stdout:setvbuf 'line'\nlocal neap = require 'neap'\n" ..
            "local function main()\n" .. main .. [[
            end
            local ok, err = pcall(neap.run, { main, signals = true, grace = 0.2 })
            os.exit(ok and 0 or err.signal and 128 + err.signal or 1)
        ]])
        child:await_line "started (%w+)"
        return child
    end

    local function spins(how, text)
        it("D16: one signal ends a program that " .. how, function()
            local child = start_short(text)
            child:signal "TERM"
            local out, err = ends(child, 143)
            helper.contains("spinner", err)
            if not helper.is_luajit then -- compiled code is not interrupted: the process is ended
                helper.contains("cleaned up\n", out)
            end
        end)
    end

    spins("computes for ever", [[
        neap.current_task():set_name "spinner"
        neap.spawn(function()
            pcall(neap.sleep, 1000)
            print "cleaned up"
        end)
        neap.yield()
        print "started now"
        for _ = 1, 1e11 do end
    ]])

    spins("computes for ever and catches what is raised", [[
        neap.spawn(function()
            pcall(neap.sleep, 1000)
            print "cleaned up"
        end)
        neap.spawn { function()
            print "started now"
            while true do
                pcall(function() for _ = 1, 1e11 do end end)
            end
        end, name = "spinner" }
        neap.sleep(1000)
    ]])

    spins("begins to compute for ever when it is cancelled", [[
        neap.spawn { function()
            print "started now"
            pcall(neap.sleep, 1000)
            print "cleaned up"
            for _ = 1, 1e11 do end
        end, name = "spinner" }
        neap.sleep(1000)
    ]])

    it("D16: one signal ends a program that does nothing but compute, with its status", function()
        local child = start_short [[
            print "started now"
            for _ = 1, 1e11 do end
        ]]
        child:signal "TERM"
        local _, err = ends(child, 143)
        helper.contains("main", err)
    end)

    if not helper.is_luajit then -- whose process is ended
        it("D16: who was interrupted leaves nothing behind for the next run", function()
            local child = process.start_lua([[
                io.stdout:setvbuf "line"
                local neap = require "neap"
                local ok, err = pcall(neap.run, { function()
                    print "started now"
                    for _ = 1, 1e11 do end
                end, signals = true, grace = 0.2 })
                print(ok, err.code, err.signal)
                print(neap.run(function()
                    local sum = 0
                    for i = 1, 1e6 do sum = sum + i end
                    return sum, (debug.gethook())
                end))
            ]])
            child:await_line "started (%w+)"
            child:signal "TERM"
            local out = ends(child, 0)
            assert.equal("started now\nfalse\tcancelled\t15\n500000500000\tnil\n", out)
        end)
    end

    it("D16: a second signal ends a program that computes for ever at once", function()
        local child = start [[
            print "started now"
            for _ = 1, 1e11 do end
        ]]
        child:signal "TERM"
        os.execute "sleep 0.1"
        child:signal "TERM"
        ends(child, 143)
    end)

    it("D16: one signal ends a program that is blocked in the system, and the task is named", function()
        local child = start_short [[
            print "started now"
            io.popen("sleep 3"):read "*a"
        ]]
        child:signal "TERM"
        local _, err = ends(child, 143)
        helper.contains("main does not return to the loop", err)
    end)

    it("D16: one signal ends a program whose cleanup never ends", function()
        local child = start [[
            local ok = pcall(function()
                print "started now"
                neap.sleep(1000)
            end)
            while true do pcall(neap.sleep, 1000) end
        ]]
        child:signal "TERM"
        local _, err = ends(child, 143)
        helper.contains("aborted", err)
        helper.contains("main", err)
    end)
end)
