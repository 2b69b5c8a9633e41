-- The supervisor with real programs: what they write, how they are restarted, stopped and replaced.
local helper = require "support.helper"
local process = require "support.process"

local script = helper.source_dir .. "/scripts/supervisor.lua"

-- A supervisor of the programs that the text of a table names; write(text) changes its file.
local function supervise(text)
    local dir = process.temp_dir()
    local path = dir .. "/config.lua"
    local function write(new)
        process.write_file(path .. ".new", "return {" .. new .. "}")
        os.rename(path .. ".new", path)
    end
    write(text)
    local child = process.start { helper.command, script, path }
    child.extra = dir
    finally(function() child:dispose() end)
    return child, write
end

local function await_log(child, pattern)
    return process.await("'" .. pattern .. "' in the log", function()
        local found = child:err():match(pattern)
        if not found and child:ended() then error("it ended: " .. child:err(), 0) end
        return found
    end)
end

local function count(text, part)
    return select(2, text:gsub(part, ""))
end

local function is_alive(pid)
    local stat = process.read_file("/proc/" .. pid .. "/stat")
    return stat ~= nil and stat:match "^%d+ %b() (%a)" ~= "Z"
end

local function await_death(pid)
    process.await("the end of " .. pid, function() return not is_alive(pid) end)
end

describe("the supervisor", function()
    local function stopped(child, name)
        child:signal(name or "TERM")
        local code = child:wait()
        child:dispose()
        return code
    end

    it("puts the names before the lines, and stops all in the reverse order", function()
        local child = supervise [[
            { name = "one", "sh", "-c", "echo out; echo err >&2; exec sleep 1000" },
            { name = "two", "sh", "-c", "echo $GREETING; exec sleep 1000", env = { GREETING = "hello" } },
        ]]
        child:await_line "one: out\n.*(one: err)\n" -- lines of the other may stand between
        child:await_line "(two: hello)\n"
        child:signal "TERM"
        assert.equal(0, child:wait())
        assert.matches("two: stopped\nsupervisor: one: stopped\n$", child:err())
        child:dispose()
    end)

    it("starts again what was killed", function()
        local child = supervise [[{ name = "one", "sh", "-c", "echo $$; exec sleep 1000", backoff = 0.01 }]]
        local first = child:await_line "one: (%d+)\n"
        os.execute("kill -9 " .. first)
        local second = child:await_line "one: %d+\none: (%d+)\n"
        assert.is_true(is_alive(second))
        await_log(child, "one: signal 9\n()")
        assert.equal(0, stopped(child, "INT"))
        assert.is_false(is_alive(second))
    end)

    it("kills who does not stop, with all that it has started", function()
        local child = supervise [[
            { name = "one", "sh", "-c", "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 0.02; done",
              grace = 0.1 },
        ]]
        local inner = child:await_line "one: (%d+)\n"
        assert.equal(0, stopped(child))
        await_death(inner)
    end)

    it("gives up on what crashes again and again, and stops the others", function()
        local child = supervise [[
            intensity = 3, period = 100,
            { name = "good", "sh", "-c", "echo ready; exec sleep 1000" },
            { name = "bad", "sh", "-c", "echo $$; exit 1", backoff = 0.01 },
        ]]
        assert.equal(1, child:wait())
        assert.equal(4, count(child:out(), "bad: %d+\n"))
        helper.contains("bad: too many restarts", child:err())
        helper.contains("good: stopped", child:err())
        child:dispose()
    end)

    it("treats what cannot be started in the same way", function()
        local child = supervise [[intensity = 1, { name = "bad", "no-such-program", backoff = 0.01 }]]
        assert.equal(1, child:wait())
        helper.contains("bad: process no-such-program: exec: no such file or directory", child:err())
        child:dispose()
    end)

    it("starts again as the policy says", function()
        local child = supervise [[
            { name = "never", "sh", "-c", "echo x; exit 1", restart = "temporary" },
            { name = "done", "sh", "-c", "echo x", restart = "transient" },
            { name = "failed", "sh", "-c", "test $$ = \"$(cat f 2>/dev/null || echo no)\" || exit 1",
              restart = "transient", backoff = 0.01 },
            intensity = 2,
        ]]
        assert.equal(1, child:wait())
        assert.equal(1, count(child:err(), "never: started"))
        assert.equal(1, count(child:err(), "done: started"))
        assert.equal(3, count(child:err(), "failed: started"))
        child:dispose()
    end)

    it("reads its file again on SIGHUP and touches only what has changed", function()
        local same = [[{ name = "same", "sh", "-c", "echo $$; exec sleep 1000" },]]
        local child, write = supervise(same .. [[
            { name = "old", "sh", "-c", "echo $$; exec sleep 1000" },
            { name = "changed", "sh", "-c", "echo first; exec sleep 1000" },
        ]])
        local pid = child:await_line "same: (%d+)\n"
        local old = child:await_line "old: (%d+)\n"
        child:await_line "(changed: first)\n"
        write(same .. [[
            { name = "changed", "sh", "-c", "echo second; exec sleep 1000" },
            { name = "new", "sh", "-c", "echo third; exec sleep 1000" },
        ]])
        child:signal "HUP"
        child:await_line "(changed: second)\n"
        child:await_line "(new: third)\n"
        assert.is_true(is_alive(pid))
        assert.is_false(is_alive(old))
        assert.equal(1, count(child:out(), "same: "))
        write "{ name = 5 }"
        child:signal "HUP"
        await_log(child, "stays as it is: [^\n]*has no name\n()")
        assert.is_true(is_alive(pid))
        assert.equal(0, stopped(child))
    end)

    it("passes long lines on in pieces", function()
        local child = supervise [[
            { name = "one", "sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x; echo; exec sleep 1000" },
        ]]
        process.await("all of the line", function() return count(child:out(), "x") == 200000 end)
        assert.equal(0, stopped(child))
    end)

    it("that is killed takes its programs along", function()
        local child = supervise [[{ name = "one", "sh", "-c", "echo $$; exec sleep 1000" }]]
        local pid = child:await_line "one: (%d+)\n"
        assert.equal(137, stopped(child, "KILL"))
        await_death(pid)
    end)

    it("refuses a file that makes no sense", function()
        for text, message in pairs {
            ['{ name = "a" }'] = "a: no command",
            ['{ name = "a", "x" }, { name = "a", "y" }'] = "two programs are named a",
            ['{ name = "a", "x", restart = "always" }'] = "restart is permanent",
        } do
            local child = supervise(text)
            assert.equal(1, child:wait())
            helper.contains(message, child:err())
            child:dispose()
        end
    end)
end)
