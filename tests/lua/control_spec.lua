-- A look at a running program from outside: the control server of a run, `neap ps` and `neap tree`.
local helper = require "support.helper"
local process = require "support.process"

local waiting = [[
    local neap = require "neap"
    neap.spawn { function() neap.sleep(1000) end, name = "sleeper" }
    neap.group(function(g)
        g:spawn(function()
            neap.spawn { function() neap.future():await() end, name = "inner" }
            neap.sleep(1000)
        end)
        print "ready"
        io.stdout:flush()
        neap.sleep(1000)
    end)
]]

-- Calls fn with a place for sockets that nothing else uses, and functions to start a program and to ask.
local function with_place(fn)
    return function()
        local place = process.temp_dir()
        local children = {}
        local function start(text, options)
            options = options or {}
            local env = options.env or {}
            env.XDG_RUNTIME_DIR = place
            local child
            if options.argv then
                child = process.start(options.argv, { env = env })
            else
                process.write_file(place .. "/script.lua", text)
                local argv = { helper.command, options.flag or "--control", place .. "/script.lua" }
                child = process.start(argv, { env = env })
            end
            children[#children + 1] = child
            return child
        end
        local function ask(...)
            return process.run({ helper.command, ... }, { env = { XDG_RUNTIME_DIR = place } })
        end
        local ok, err = pcall(fn, place, start, ask)
        for _, child in ipairs(children) do
            child:dispose()
        end
        process.remove(place)
        if not ok then error(err, 0) end
    end
end

local function ready(child)
    child:await_line "(ready)"
    return child
end

-- The socket is there a tick after the script has begun.
local function reachable(child, place)
    ready(child)
    process.await("the control socket", function()
        return process.capture("ls " .. place .. "/neap 2>/dev/null"):find(tostring(child.pid), 1, true)
    end)
    return tostring(child.pid)
end

local function lines_of(text)
    local _, n = text:gsub("\n", "")
    return n
end

describe("control", function()
    it("is off unless it is asked for", with_place(function(place, start, ask)
        local child = ready(start(waiting, { flag = "--", env = { NEAP_CONTROL = "0" } }))
        assert.equal("", process.capture("ls " .. place .. "/neap 2>/dev/null"))
        local result = ask("ps", tostring(child.pid))
        assert.equal(1, result.code)
        helper.contains("none was started with neap --control", result.err)
    end))

    it("neap ps lists the processes that can be asked", with_place(function(place, start, ask)
        local pid = reachable(start(waiting), place)
        local result = ask "ps"
        assert.equal("", result.err)
        assert.equal(0, result.code)
        assert.equal(2, lines_of(result.out))
        helper.contains("PID", result.out)
        assert.matches("\n" .. pid .. " .*%-%-control .*script%.lua\n$", result.out)
    end))

    it("neap ps PID prints a line for each task", with_place(function(place, start, ask)
        local result = ask("ps", reachable(start(waiting), place))
        assert.equal("", result.err)
        assert.equal(5, lines_of(result.out))
        assert.matches("^ID +NAME +STEPS +TIME +LINE +STATE\n", result.out)
        assert.matches("\n1 +main +1 +[%d.]+ +[^\n]*script%.lua:10 +sleeps for another", result.out)
        assert.matches("\n4 +inner +1 +[%d.]+ +[^\n]*script%.lua:5 +waits for a future, for", result.out)
        assert.matches("\n2 +sleeper ", result.out)
    end))

    it("a name of a task moves no cursor", with_place(function(place, start, ask)
        local pid = reachable(start [[
            local neap = require "neap"
            neap.current_task():set_name "a\27[2Jb"
            print "ready"
            io.stdout:flush()
            neap.sleep(1000)
        ]], place)
        helper.contains("a?[2Jb", ask("ps", pid).out)
        helper.contains("a?[2Jb", ask("tree", pid).out)
    end))

    it("neap tree PID prints the tree with stacks", with_place(function(place, start, ask)
        local result = ask("tree", reachable(start(waiting), place))
        assert.equal("", result.err)
        assert.matches("^loop: 4 tasks\nmain #1 sleeps", result.out)
        assert.matches("\n  %- in a group of 2\n  task%-3 #3 sleeps for another", result.out)
        assert.matches("\n  inner #4 waits for a future[^\n]*\n      [^\n]*script%.lua:5: in the function at line 5\n",
            result.out)
    end))

    it("the directory is the user's alone and the socket goes with the run", with_place(function(place, start)
        local child = start(waiting)
        reachable(child, place)
        assert.equal("700\n", process.capture("stat -c %a " .. place .. "/neap"))
        child:signal "TERM"
        assert.equal(128 + 15, child:wait())
        assert.equal("", process.capture("ls " .. place .. "/neap"))
        assert.equal("", child:err())
    end))

    it("NEAP_CONTROL=1 asks for it everywhere, unless the run says no", with_place(function(place, start, ask)
        process.write_file(place .. "/run.lua", [[
            local neap = require "neap"
            neap.run(function() print "ready" io.stdout:flush() neap.sleep(1000) end)
        ]])
        process.write_file(place .. "/no.lua", [[
            local neap = require "neap"
            neap.run { control = false, function() print "ready" io.stdout:flush() neap.sleep(1000) end }
        ]])
        local asked = start(nil, { argv = { helper.lua, place .. "/run.lua" }, env = { NEAP_CONTROL = "1" } })
        local refused = start(nil, { argv = { helper.lua, place .. "/no.lua" }, env = { NEAP_CONTROL = "1" } })
        ready(refused)
        reachable(asked, place)
        local out = ask("ps").out
        helper.contains(tostring(asked.pid), out)
        assert.is_nil(out:find("no.lua", 1, true))
    end))

    it("hides no deadlock", with_place(function(_, start)
        local child = start [[
            local neap = require "neap"
            neap.sleep(0.01)
            neap.future():await()
        ]]
        assert.equal(1, child:wait())
        helper.contains("nothing can ever wake what is waited for: main waits for a future", child:err())
    end))

    it("keeps no run from its end and changes nothing that a script can see", with_place(function(place)
        process.write_file(place .. "/same.lua", [[
            local neap = require "neap"
            neap.sleep(0.01)
            local task = neap.spawn(function() neap.yield() end)
            print(task:name(), #neap.all_tasks(), neap.loop():metrics().tasks)
            for _, line in ipairs { neap.tree():match "^[^\n]*", neap.spawn(print):name() } do print(line) end
        ]])
        local env = { XDG_RUNTIME_DIR = place }
        local without = process.run({ helper.command, place .. "/same.lua" }, { env = env })
        local with = process.run({ helper.command, "--control", place .. "/same.lua" }, { env = env })
        assert.equal("", with.err)
        assert.equal(0, with.code)
        assert.equal(without.out, with.out)
        assert.equal("", process.capture("ls " .. place .. "/neap"))
    end))

    it("says that a loop is busy instead of waiting for it", with_place(function(place, start, ask)
        local child = start(([[
            local neap = require "neap"
            neap.sleep(0.01)
            print "ready"
            io.stdout:flush()
            local deadline = os.time() + %d
            local file
            repeat file = io.open("%s/go") until file or os.time() > deadline
        ]]):format(10 * helper.patience, place))
        local pid = reachable(child, place)
        local result = ask("tree", pid)
        process.write_file(place .. "/go", "")
        assert.equal(1, result.code)
        helper.contains("the loop has not answered for 2 s; it is busy in a step", result.err)
        assert.equal(0, child:wait())
    end))

    it("answers while other clients say nothing", with_place(function(place, start, ask)
        local pid = reachable(start(waiting), place)
        local silent = start(nil, { argv = { "python3", "-c", ([[
import socket, sys, time
socks = [socket.socket(socket.AF_UNIX) for _ in range(6)]
for s in socks: s.connect("%s/neap/%s")
print("ready", flush=True)
time.sleep(1000)]]):format(place, pid) } })
        ready(silent)
        assert.matches("^loop: 4 tasks", ask("tree", pid).out)
    end))

    it("ends the conversation with who asks something else", with_place(function(place, start)
        local pid = reachable(start(waiting), place)
        local out = process.run { "python3", "-c", ([[
import socket
for question in (b"what\n", b"x" * 1000, b"tree", b"\n"):
    s = socket.socket(socket.AF_UNIX)
    s.connect("%s/neap/%s")
    s.sendall(question)
    try:
        print(s.recv(100))
    except (ConnectionResetError, BrokenPipeError):
        print(b"")]]):format(place, pid) }
        assert.equal("", out.err)
        assert.equal(("b''\n"):rep(4), out.out)
    end))

    it("the socket of a process that was killed is cleared away", with_place(function(place, start, ask)
        local child = start(waiting)
        reachable(child, place)
        child:signal "KILL"
        child:wait()
        helper.contains(tostring(child.pid), process.capture("ls " .. place .. "/neap"))
        assert.equal(1, lines_of(ask("ps").out))
        assert.equal("", process.capture("ls " .. place .. "/neap"))
    end))

    it("a further run of a process takes a number behind that of the process", with_place(function(place, start, ask)
        process.write_file(place .. "/script.lua", waiting)
        -- Another process answers, or rather does not, on the socket that has our number.
        local child = start(nil, { argv = { "python3", "-c", ([[
import os, socket, time
pid = os.getpid()
os.mkdir("%s/neap", 0o700)
s = socket.socket(socket.AF_UNIX)
s.bind("%s/neap/" + str(pid))
s.listen()
if os.fork() == 0:
    while os.getppid() == pid: time.sleep(0.05)
else:
    os.execv("%s", ["neap", "--control", "%s/script.lua"])]]):format(place, place, helper.command, place) } })
        ready(child)
        local name = child.pid .. ".1"
        process.await("the second socket", function()
            return process.capture("ls " .. place .. "/neap"):find(name, 1, true)
        end)
        assert.matches("^loop: 4 tasks\n", ask("tree", name).out)
        assert.matches("\n" .. child.pid .. " .*\n" .. child.pid .. "%.1 ", ask("ps").out)
    end))

    it("no directory that others can look into, and no link, is used", with_place(function(place, start, ask)
        local script = "local neap = require 'neap' neap.sleep(0.05) print(#neap.all_tasks())"
        for _, spoil in ipairs { "mkdir -m 755 %s/neap", "mkdir -m 700 %s/far && ln -s %s/far %s/neap" } do
            os.execute((spoil:gsub("%%s", place)))
            local child = start(script)
            assert.equal(0, child:wait())
            assert.equal("1\n", child:out())
            helper.contains("the program cannot be asked", child:err())
            assert.equal("", process.capture("ls " .. place .. "/neap/"))
            assert.equal(1, ask("ps").code)
            process.remove(place .. "/neap")
        end
    end))

    it("another user is not answered", with_place(function(place, start)
        if process.capture("id -u") ~= "0\n" or process.capture("command -v setpriv") == "" then
            pending "only root, with setpriv, can become another user"
            return
        end
        local pid = reachable(start(waiting), place)
        local socket = ("%s/neap/%s"):format(place, pid)
        local function ask_as_nobody()
            local result = process.run { "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                "env", "PATH=/usr/bin:/bin", "python3", "-c", ([[
import socket
s = socket.socket(socket.AF_UNIX)
try:
    s.connect("%s")
    s.sendall(b"tree\n")
    print(s.recv(100))
except PermissionError:
    print("refused")
except (ConnectionResetError, BrokenPipeError):
    print(b"")]]):format(socket) }
            assert.equal("", result.err)
            return result.out
        end
        os.execute("chmod 755 " .. place)
        assert.equal("refused\n", ask_as_nobody()) -- by the directory
        os.execute(("chmod 755 %s/neap && chmod 777 %s"):format(place, socket))
        assert.equal("b''\n", ask_as_nobody()) -- by the server
    end))
end)
