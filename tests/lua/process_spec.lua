-- Child processes: what they are given, how they end, to whom they belong, and that nothing of them is left.
local neap = require "neap"
local helper = require "support.helper"
local programs = require "support.process"
local raises, fails = helper.raises, helper.fails

-- A test without a process at its end, not even a dead one.
local function no_child_is_left()
    local pid = programs.read_file("/proc/self/stat"):match "^%d+"
    local children = "env -u LD_PRELOAD pgrep -P " .. pid .. " -a"
    local left = programs.capture(children .. " | grep -v pgrep | grep -v '^[0-9]* sh -c'")
    assert.equal("", left)
end

local function in_loop(fn, options)
    local test = helper.in_real_loop(fn, options)
    return function()
        test()
        no_child_is_left()
    end
end

local function sh(line, options)
    local all = { "/bin/sh", "-c", line }
    for key, value in pairs(options or {}) do
        all[key] = value
    end
    return assert(neap.process(all))
end

-- Both outputs and the end of a program.
local function output_of(options)
    options.stdout = options.stdout or "pipe"
    return assert(neap.process(options)):communicate()
end

local function is_alive(pid)
    local stat = programs.read_file("/proc/" .. pid .. "/stat")
    return stat ~= nil and stat:match "^%d+ %b() (%a)" ~= "Z"
end

describe("a process", function()
    it("answers how it ended as os.execute does", in_loop(function()
        assert.same({ n = 3, true, "exit", 0 }, helper.pack(sh("exit 0"):wait()))
        assert.same({ n = 3, nil, "exit", 7 }, helper.pack(sh("exit 7"):wait()))
        assert.same({ n = 4, nil, "signal", 9, "KILL" }, helper.pack(sh("kill -9 $$"):wait()))
    end))

    it("keeps its status, and has none while it runs", in_loop(function()
        local process = sh "exec sleep 1000"
        assert.equal(0, select("#", process:status()))
        assert.is_nil(process:usage())
        helper.contains("sh (running)", tostring(process))
        assert.is_true(process:kill())
        process:wait()
        assert.equal("TERM", (select(4, process:status())))
        assert.equal(15, (select(3, process:wait())))
        assert.is_true(process:usage().max_rss > 0)
        helper.contains("(signal 15)", tostring(process))
    end))

    it("is waited for by any number of tasks", in_loop(function()
        local process, ended = sh "exec sleep 1000", 0
        local tasks = {}
        for i = 1, 3 do
            tasks[i] = neap.spawn(function()
                process:wait()
                ended = ended + 1
            end)
        end
        neap.yield()
        process:kill "KILL"
        neap.gather(tasks[1], tasks[2], tasks[3])
        assert.equal(3, ended)
    end))

    it("has ended when it has exited, whoever has its pipes", in_loop(function()
        local process = sh("sleep 1000 & exit 4", { stdout = "pipe", session = true })
        assert.equal(4, (select(3, process:wait())))
        process:close()
    end))

    it("refuses signals after its end", in_loop(function()
        local process = sh "exit 0"
        process:wait()
        fails("ESRCH", process:kill "TERM")
        raises("value_error", process.kill, process, "FOO")
    end))

    it("that does not start says what failed, and names the program", in_loop(function()
        local err = fails("ENOENT", neap.process { "no-such-program" })
        assert.equal("exec", err.step)
        assert.equal("process no-such-program: exec: no such file or directory", tostring(err))
        err = fails("ENOENT", neap.process { "true", cwd = "/nowhere" })
        assert.equal("process true: chdir /nowhere: no such file or directory", tostring(err))
        fails("EACCES", neap.process { "/etc/passwd" })
        fails("E2BIG", neap.process { "true", ("x"):rep(4000000) })
    end))

    it("is refused without a program, and with what makes no sense", in_loop(function()
        raises("value_error", neap.process, {})
        helper.contains("'process'", raises("type_error", neap.process, "ls").message)
        raises("type_error", neap.process, { true })
        raises("value_error", neap.process, { "true", "a\0b" })
        raises("value_error", neap.process, { "true", unknown = 1 })
        raises("type_error", neap.process, { "true", env = "A=b" })
        raises("value_error", neap.process, { "true", env = { ["A=b"] = "c" } })
        raises("type_error", neap.process, { "true", env = { A = true } })
        raises("value_error", neap.process, { "true", stdout = "file" })
        raises("value_error", neap.process, { "true", fds = { [2] = "pipe" } })
        raises("value_error", neap.process, { "true", user = "no-such-user" })
        raises("value_error", neap.process, { "true", group = "no-such-group" })
        raises("value_error", neap.process, { "true", user = -1 })
        raises("value_error", neap.process, { "true", kill_signal = "FOO" })
        assert.is_false((pcall(neap.process, { "true", grace = math.huge })))
    end))

    it("gets its arguments as they are", in_loop(function()
        local out = output_of { "printf", "%s|", "a b", "*", "$HOME", "", 5 }
        assert.equal("a b|*|$HOME||5|", out)
    end))

    it("gets the environment, changed or new", in_loop(function()
        local line = "echo $HOME-$NEAP_A-$NEAP_B"
        local home = os.getenv "HOME"
        assert.equal(home .. "-x-7\n",
            (output_of { "sh", "-c", line, env = { NEAP_A = "x", NEAP_B = 7 } }))
        assert.equal("-x-\n", (output_of { "sh", "-c", line, env = { NEAP_A = "x", HOME = false } }))
        assert.equal("NEAP_A=x\n", (output_of { "env", env = { NEAP_A = "x" }, clear_env = true }))
    end))

    it("runs where it is told to", in_loop(function()
        assert.equal("/usr\n", (output_of { "pwd", cwd = "/usr" }))
    end))

    it("writes into files and sockets that it is given", in_loop(function()
        local path = os.tmpname()
        local file = assert(io.open(path, "w"))
        file:write "first\n"
        sh("echo out; echo err >&2", { stdout = file, stderr = "stdout" }):wait()
        file:close()
        assert.equal("first\nout\nerr\n", programs.read_file(path))
        os.remove(path)
        local a, b = neap.socketpair()
        sh("echo hello >&5", { fds = { [5] = b } }):wait()
        assert.equal("hello\n", a:recv(100))
        a:close()
        b:close()
        assert.equal(true, (sh("cat; echo x", { stdin = "null", stdout = "null" }):wait()))
    end))

    it("has further pipes, and pairs for both directions", in_loop(function()
        local process = sh("read line <&7; echo got $line >&7; echo more >&9",
            { fds = { [7] = "pair", [9] = "pipe" } })
        process.streams[7]:write "this\n"
        assert.equal("got this", process.streams[7]:read())
        assert.equal("more", process.streams[9]:read())
        process:wait()
        process:close()
    end))

    it("may be another user's", in_loop(function()
        if programs.capture "id -u" ~= "0\n" then
            fails("EPERM", neap.process { "true", user = 65534 })
            return
        end
        local out = output_of { "sh", "-c", "id -u; id -g; id -G", user = 65534, group = 65534 }
        assert.equal("65534\n65534\n65534\n", out)
        out = output_of { "sh", "-c", "id -un; id -gn", user = "nobody" }
        assert.equal("nobody\nnogroup\n", out)
        assert.equal("5 7\n", (output_of { "id", "-G", user = 65534, group = 5, groups = { 7 } }))
    end))

    it("is no line for a shell unless that is asked for", in_loop(function()
        fails("ENOENT", neap.process { "echo hi | tr a-z A-Z" })
        assert.equal("HI\n", (neap.shell("echo hi | tr a-z A-Z", { stdout = "pipe" }):communicate()))
    end))

    it("leaves nothing, however many there were", in_loop(function()
        local before = helper.count_descriptors()
        for _ = 1, helper.sanitized and 10 or 100 do
            local process = neap.process { "true", stdin = "pipe", stdout = "pipe" }
            process:communicate()
        end
        assert.equal(before, helper.count_descriptors())
        no_child_is_left()
    end))
end)

describe("communicate", function()
    it("feeds and reads much at once", in_loop(function()
        local input = ("0123456789abcdef"):rep(200000)
        local process = sh("tee /dev/stderr", { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
        local out, err, ok, how, code = process:communicate(input)
        assert.is_true(out == input and err == input)
        assert.same({ true, "exit", 0 }, { ok, how, code })
    end))

    it("minds neither a child that does not read nor one that closes early", in_loop(function()
        local process = neap.process { "true", stdin = "pipe", stdout = "pipe" }
        assert.same({ n = 5, "", nil, true, "exit", 0 }, helper.pack(process:communicate(("x"):rep(1000000))))
        process = sh("exec >&-; sleep 0.05; exit 3", { stdout = "pipe" })
        assert.same({ n = 5, "", nil, nil, "exit", 3 }, helper.pack(process:communicate()))
    end))

    it("needs no pipes", in_loop(function()
        assert.same({ n = 5, nil, nil, nil, "exit", 2 }, helper.pack(sh("exit 2"):communicate()))
    end))

    it("ends a process that writes more than the limit", in_loop(function()
        local process = neap.process { "yes", stdout = "pipe", grace = 1 }
        local err = fails("limit", process:communicate(nil, 100000))
        helper.contains("communicate yes: ", tostring(err))
        assert.equal("signal", (select(2, process:status())))
    end))

    it("can be cancelled, and the process lives on until its scope is left", in_loop(function()
        neap.scope(function()
            local process = sh("exec sleep 1000", { stdin = "pipe", stdout = "pipe" })
            assert.is_nil(neap.move_on(0.02, process.communicate, process))
            assert.equal(0, select("#", process:status()))
            process:close()
        end)
    end))
end)

describe("a process belongs to its scope:", function()
    local function started_in(region, options)
        local process
        region(function()
            process = sh("exec sleep 1000", options)
        end)
        return process
    end

    it("it is ended when the scope is left", in_loop(function()
        local regions = {
            function(fn) neap.timeout(100, fn) end,
            function(fn) neap.move_on(100, fn) end,
            function(fn) neap.shielded(100, fn) end,
            function(fn) neap.scope(fn) end,
            function(fn) neap.group(fn) end,
            function(fn) neap.group(function(group) group:spawn(fn) end) end,
            function(fn) neap.select { function() fn() return 1 end } end,
            function(fn) pcall(neap.scope, function() fn() error "broken" end) end,
        }
        for i, region in ipairs(regions) do
            local process = started_in(region)
            assert.equal(15, (select(3, process:status())), "region " .. i)
        end
    end))

    it("a timeout ends what waits for it and it", in_loop(function()
        local process
        raises("timeout", neap.timeout, 0.02, function()
            process = sh "exec sleep 1000"
            process:wait()
        end)
        assert.equal(15, (select(3, process:status())))
    end))

    it("who ignores the signal is killed after the grace", in_loop(function()
        local process
        neap.scope(function()
            process = sh("trap '' TERM; echo ready; while :; do sleep 0.01; done",
                { grace = 0.05, stdout = "pipe" })
            assert.equal("ready", process.stdout:read())
        end)
        assert.equal(9, (select(3, process:status())))
        process:close()
    end))

    it("who needs its grace has it", in_loop(function()
        local process
        neap.scope(function()
            process = sh("trap 'sleep 0.05; exit 5' TERM; echo ready; while :; do sleep 0.01; done",
                { grace = 100, stdout = "pipe" })
            assert.equal("ready", process.stdout:read())
        end)
        assert.equal(5, (select(3, process:status())))
        process:close()
    end))

    it("another signal may ask it", in_loop(function()
        assert.equal(2, (select(3, started_in(neap.scope, { kill_signal = "INT" }):status())))
    end))

    it("its group goes with it, also when it has ended before", in_loop(function()
        local inner
        for _, line in ipairs { "sleep 1000 & echo $!; wait", "sleep 1000 & echo $!" } do
            neap.scope(function()
                local process = sh(line, { process_group = true, stdout = "pipe", stdin = "null" })
                inner = process.stdout:read()
                process.stdout:close()
                assert.is_true(is_alive(inner))
            end)
            programs.await("the end of " .. inner, function() return not is_alive(inner) end)
        end
    end))

    it("without a scope to the run", function()
        local process, pid
        neap.run(function()
            process = sh "exec sleep 1000"
            pid = process.pid
            assert.is_true(is_alive(pid))
        end)
        assert.is_false(is_alive(pid))
        no_child_is_left()
    end)

    it("without a scope to the run, which kills it if it must", function()
        local pid
        neap.run { function()
            neap.loop():on_error(function() end) -- the task that looks after it is aborted
            local process = sh("trap '' TERM; echo ready; while :; do sleep 0.01; done",
                { grace = 100, stdout = "pipe" })
            process.stdout:read()
            pid = process.pid
        end, grace = 0.1 }
        assert.is_false(is_alive(pid))
        no_child_is_left()
    end)

    it("unless it is detached", in_loop(function()
        local process = started_in(neap.scope, { detach = true })
        assert.equal(0, select("#", process:status()))
        process:kill()
        process:wait()
    end))

    it("many that end leave nothing with it", in_loop(function()
        neap.scope(function()
            for _ = 1, 60 do
                sh("exit 0"):wait()
            end
        end)
        sh("exit 0"):wait()
        neap.sleep(0)
    end))

    it("none is started in one that is cancelled", in_loop(function()
        neap.scope(function(scope)
            scope:cancel()
            neap.process { "sleep", "1000" }
            error "not reached"
        end)
    end))

    it("close ends it before, with another grace", in_loop(function()
        local process = sh("trap '' TERM; echo ready; while :; do sleep 0.01; done", { stdout = "pipe" })
        process.stdout:read()
        assert.same({ n = 4, nil, "signal", 9, "KILL" }, helper.pack(process:close(0.01)))
        assert.same({ n = 4, nil, "signal", 9, "KILL" }, helper.pack(process:close()))
    end))

    it("so does a to-be-closed variable", in_loop(function()
        if not helper.has_close then return end
        local run = helper.compile [[
            local neap = ...
            local kept
            do
                local process <close> = neap.process { "sleep", "1000", stdout = "pipe" }
                kept = process
            end
            return kept
        ]]
        assert.equal(15, (select(3, run(neap):status())))
    end))

    it("a program that is interrupted takes it along", function()
        local child = programs.start_lua([[
            local neap = require "neap"
            local process = neap.process { "sleep", "1000", session = true }
            print(process.pid)
            io.stdout:flush()
            process:wait()
        ]], { command = true })
        local pid = child:await_line "(%d+)"
        assert.is_true(is_alive(pid))
        child:signal "TERM"
        child:wait()
        programs.await("the end of " .. pid, function() return not is_alive(pid) end)
        child:dispose()
    end)
end)
