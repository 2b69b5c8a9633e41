-- The scripts under scripts/seeds/ as a user runs them: with a stock interpreter and with the command.
local helper = require "support.helper"
local process = require "support.process"

local dir = helper.source_dir .. "/scripts/seeds/"

local function lines(...)
    return table.concat({ ... }, "\n") .. "\n"
end

local function numbered(first, last, format)
    local list = {}
    for i = first, last do
        list[#list + 1] = format:format(i)
    end
    return table.concat(list, "\n")
end

-- file = { id, sentence, output, virtual = it can skip its sleeps in a stock interpreter }
local scripts = {
    task = { "T20", "the task class written by hand runs beside neap's", lines("Hello Bar", "Hello Foo"),
        virtual = true },
    minimal_loop = { "L12", "the minimal loop drives tasks and waits for them", lines("Foo", "Bar") },
    wait = { "W1", "wait by hand does what neap.wait does", lines("---> wait", 'sleep "1" sec', 'sleep "2" sec',
        "---> neap.wait", 'sleep "1" sec', 'sleep "2" sec'), virtual = true },
    run = { "R1 N14", "run by hand looks a name up as neap.run does",
        lines("by hand:  [::1]:443 127.0.0.1:443", "neap.run: [::1]:443 127.0.0.1:443"),
        command = lines("by hand:  [::1]:443 127.0.0.1:443",
            "neap.run: loop_running here, for the command has called it") },
    interleave = { "L16", "the ten tasks interleave with the one that makes them", lines(
        "create 0", "create 1", "done 0", numbered(2, 9, "create %d"), numbered(1, 9, "done %d")), virtual = true },
    gen_send = { "G2", "values are sent into a generator, and errors thrown", lines("next", "1", "2", "StopIteration",
        "send", "1", "abc", "2", "throw", "raised Exception", "yield from: a plain call tunnels all of it", "1", "2",
        "inner\tabc", "outer\t3", "4", "the same with a task and a future", "abc", "raised Exception",
        "StopIteration: 3") },
    run_once_demo = { "L17", "single turns show the ready queue before and after", lines(
        "before: 2 ready", "  task, step 1", "  callback",
        "before: 2 ready", "  task, step 2", "  callback of a callback",
        "before: 1 ready", "  task ends", "after: 0 ready") },
    timeout_zero_future = { "L17", "a future awaited for no time", lines("done:    the value",
        "pending: false timeout, cancelled: true") },
    receive_chain = { "N18", "a receive takes its seven steps", lines(
        "1. select waits", "2. the socket is ready", "3. data is moved from the socket into a buffer",
        "4. future.set_result()", "5. the task rises back to life by its callback",
        "6. the task resumes the inner-most coroutine", "7. the user has its data: hello") },
}

describe("seed", function()
    local running = {}

    -- Those that sleep for real are started together, before the first test looks.
    setup(function()
        for name, script in pairs(scripts) do
            running[name] = {
                stock = process.start({ helper.lua, dir .. name .. ".lua", script.virtual and "virtual" or nil }),
                command = process.start { helper.command, dir .. name .. ".lua" },
            }
        end
    end)

    teardown(function()
        for _, pair in pairs(running) do
            pair.stock:dispose()
            pair.command:dispose()
        end
    end)

    local function check(child, output)
        local code = child:wait()
        assert.equal("", child:err())
        assert.equal(output, child:out())
        assert.equal(0, code)
    end

    it("T20: task.lua: a task class written by hand runs beside neap's, in a stock interpreter", function()
        check(running.task.stock, scripts.task[3])
    end)
    it("L12: minimal_loop.lua: a minimal loop drives tasks and waits for them, in a stock interpreter", function()
        check(running.minimal_loop.stock, scripts.minimal_loop[3])
    end)
    it("W1: wait.lua: wait by hand does what neap.wait does, in a stock interpreter", function()
        check(running.wait.stock, scripts.wait[3])
    end)
    it("R1 N14: run.lua: run by hand looks a name up as neap.run does, in a stock interpreter", function()
        check(running.run.stock, scripts.run[3])
    end)
    it("L16: interleave.lua: ten tasks interleave with the one that makes them, in a stock interpreter", function()
        check(running.interleave.stock, scripts.interleave[3])
    end)
    it("G2 G3 G4: gen_send.lua: values are sent into a generator, in a stock interpreter", function()
        check(running.gen_send.stock, scripts.gen_send[3])
    end)
    it("L17: run_once_demo.lua: single turns show the ready queue, in a stock interpreter", function()
        check(running.run_once_demo.stock, scripts.run_once_demo[3])
    end)
    it("L17: timeout_zero_future.lua: a future awaited for no time, in a stock interpreter", function()
        check(running.timeout_zero_future.stock, scripts.timeout_zero_future[3])
    end)
    it("N18: receive_chain.lua: a receive takes its seven steps, in a stock interpreter", function()
        check(running.receive_chain.stock, scripts.receive_chain[3])
    end)

    for name, script in pairs(scripts) do
        it(script[1] .. ": " .. name .. ".lua: " .. script[2] .. ", with the command", function()
            check(running[name].command, script.command or script[3])
        end)
    end
end)

describe("seed server", function()
    local client = [[
        local neap = require "neap"
        local address = ...
        local function talk(name)
            local s = neap.tcp()
            assert(s:connect(address))
            for i = 1, 20 do
                local text = name .. " " .. i .. "\n"
                assert(s:sendall(text))
                local got = ""
                while #got < #text do
                    got = got .. assert(s:recv(100))
                end
                assert(got == text, got)
            end
            s:close()
        end
        neap.gather(function() talk "Hello" end, function() talk "asyncio" end)
        print "both got their own"
    ]]

    for _, name in ipairs { "sock_echo", "sock_ops", "curio_echo" } do
        for _, how in ipairs { "stock", "command" } do
            it("N6 N7 N15 N16: " .. name .. ".lua serves two clients at once (" .. how .. ")", function()
                local child = process.start { how == "stock" and helper.lua or helper.command,
                    dir .. name .. ".lua", "127.0.0.1:0" }
                finally(function()
                    child:dispose()
                end)
                local address = child:await_line "listening on (%S+)"
                local result = process.run_neap(client, { args = { address } })
                assert.equal("", result.err)
                assert.equal("both got their own\n", result.out)
                if name == "curio_echo" then
                    child:await_line "Connection Closed\n.*(Connection Closed)"
                    for _, said in ipairs { "yielding for read on server 127.0.0.1:%d+", "appending a client handler",
                        "yielding for read client 127.0.0.1:%d+", "yielding for write on client 127.0.0.1:%d+" } do
                        assert.is_truthy(child:out():find(said))
                    end
                end
                child:signal "INT"
                local code = child:wait()
                if how == "command" then
                    assert.equal(130, code)
                    assert.equal("", child:err())
                end
            end)

            it("N6: " .. name .. ".lua answers nc (" .. how .. ")", function()
                local child = process.start { how == "stock" and helper.lua or helper.command,
                    dir .. name .. ".lua", "127.0.0.1:0" }
                finally(function()
                    child:dispose()
                end)
                local port = child:await_line "listening on [%d%.]+:(%d+)"
                local result = process.run({ "nc", "-N", "127.0.0.1", port }, { input = "Hello\nasyncio\n" })
                assert.equal("Hello\nasyncio\n", result.out)
                assert.equal(0, result.code)
            end)
        end
    end
end)
