-- The command: options like lua's, waiting at top level, exit codes, signals, errors on stderr.
local helper = require "support.helper"
local process = require "support.process"

local function command(args, options)
    local argv = { helper.command }
    for i = 1, #args do
        argv[i + 1] = args[i]
    end
    return process.run(argv, options)
end

local function check(result, out, code)
    assert.equal("", result.err)
    assert.equal(out, result.out)
    assert.equal(code or 0, result.code)
end

describe("command", function()
    it("R1: a script may wait at top level", function()
        check(process.run_neap [[
            local neap = require "neap"
            neap.sleep(0.001)
            local task = neap.spawn(function() neap.yield() return "from a task" end)
            print(neap.await(task))
        ]], "from a task\n")
    end)

    it("R1: the script is the main task", function()
        check(process.run_neap [[
            local neap = require "neap"
            print(neap.current_task() ~= nil, #neap.all_tasks())
        ]], "true\t1\n")
    end)

    it("R2: run inside the script is refused, for it runs in a loop already", function()
        check(process.run_neap [[
            local neap = require "neap"
            local ok, err = pcall(neap.run, print)
            print(ok, err.code)
        ]], "false\tloop_running\n")
    end)

    it("R1: the rest of the arguments is the script's, in arg and in ...", function()
        local result = process.run_neap([[
            print(select("#", ...), ...)
            print(#arg, arg[1], arg[2], arg[3])
            print(arg[0]:match "[^/]*$", arg[-1] ~= nil)
        ]], { args = { "one", "--two", "-e" }, name = "args.lua" })
        check(result, "3\tone\t--two\t-e\n3\tone\t--two\t-e\nargs.lua\ttrue\n")
    end)

    it("R1: arg has the options before the script at negative indices", function()
        local dir = process.temp_dir()
        process.write_file(dir .. "/s.lua", "print(arg[-2], arg[-1])")
        local result = command { "-e", "local x = 1", dir .. "/s.lua" }
        process.remove(dir)
        check(result, "-e\tlocal x = 1\n")
    end)

    it("R1: -e runs a chunk, which may wait", function()
        check(command { "-e", "local neap = require 'neap' neap.sleep(0) print 'waited'" }, "waited\n")
        check(command { "-eprint(1)" }, "1\n")
        check(command { "-e", "x = 1", "-e", "print(x)" }, "1\n")
    end)

    it("R1: -l requires a module into a global", function()
        check(command { "-l", "neap", "-e", "neap.sleep(0) print(type(neap.run))" }, "function\n")
        check(command { "-lneap", "-e", "print(type(neap))" }, "table\n")
    end)

    it("R1: -v shows a version and nothing else", function()
        local result = command { "-v" }
        assert.equal(0, result.code)
        helper.contains("neap", result.out .. result.err)
        helper.contains("Lua", result.out .. result.err)
    end)

    it("R1: - reads the script from standard input", function()
        check(command({ "-", "x" }, { input = "print('from stdin', ...)" }), "from stdin\tx\n")
    end)

    it("R1: without arguments a script on standard input is run", function()
        check(command({}, { input = "local neap = require 'neap' neap.sleep(0) print 'piped'" }), "piped\n")
    end)

    it("R1: -- ends the options", function()
        local dir = process.temp_dir()
        process.write_file(dir .. "/-odd.lua", "print 'odd name'")
        local result = command({ "--", "-odd.lua" }, { dir = dir })
        process.remove(dir)
        check(result, "odd name\n")
    end)

    it("R1: a first line with #! is skipped", function()
        check(process.run_neap "#!/usr/bin/env neap\nprint 'script'", "script\n")
    end)

    it("R1: an unknown option is refused with a usage", function()
        local result = command { "-x" }
        assert.equal(1, result.code)
        assert.equal("", result.out)
        helper.contains("usage", result.err:lower())
        helper.contains("-x", result.err)
        assert.equal(1, command({ "-e" }).code)
    end)

    it("R1: a script that is not there is an error", function()
        local result = command { "/no/such/script.lua" }
        assert.equal(1, result.code)
        helper.contains("/no/such/script.lua", result.err)
    end)

    it("R1: a syntax error goes to stderr with file and line", function()
        local result = process.run_neap("local x =\n=", { name = "broken.lua" })
        assert.equal(1, result.code)
        helper.contains("broken.lua:2:", result.err)
        assert.equal("", result.out)
    end)

    it("R1: the script's values do not matter, unless they are an exit status", function()
        check(process.run_neap "return 1, 2, 3", "")
    end)

    it("R1: an uncaught error exits with 1 and shows a traceback on stderr", function()
        local result = process.run_neap([[
            local function fails()
                error "broken"
            end
            fails()
        ]], { name = "fails.lua" })
        assert.equal(1, result.code)
        assert.equal("", result.out)
        helper.contains("fails.lua:2: broken", result.err)
        helper.contains("traceback", result.err)
        helper.contains("fails.lua:4", result.err)
    end)

    it("R1: an uncaught error that is no string is shown as what it is", function()
        local result = process.run_neap [[
            error(setmetatable({}, { __tostring = function() return "shown as text" end }))
        ]]
        assert.equal(1, result.code)
        helper.contains("shown as text", result.err)
        result = process.run_neap "error {}"
        assert.equal(1, result.code)
        helper.contains("table", result.err)
        result = process.run_neap "error(nil)"
        assert.equal(1, result.code)
        helper.contains("nil", result.err)
    end)

    it("C12: the end of the script cancels what still runs and lets it clean up", function()
        check(process.run_neap [[
            local neap = require "neap"
            neap.spawn(function()
                local ok, err = pcall(neap.sleep, 100)
                print("cleaned up", ok, neap.is_cancelled(err))
            end)
            neap.yield()
            print "script ends"
        ]], "script ends\ncleaned up\tfalse\ttrue\n")
    end)

    it("R4: a script that nothing can wake ends with an error instead of hanging", function()
        local result = process.run_neap [[
            local neap = require "neap"
            neap.future():await()
        ]]
        assert.equal(1, result.code)
        helper.contains("wake", result.err)
    end)

    it("R1: run from the build tree the command finds its own modules", function()
        local result = process.run({ helper.command, "-e", "print(require 'neap'.run ~= nil)" },
            { env = { LUA_PATH = false, LUA_CPATH = false }, dir = "/" })
        check(result, "true\n")
    end)

    it("R1: LUA_PATH works as in lua", function()
        local dir = process.temp_dir()
        process.write_file(dir .. "/mine.lua", "return 'my module'")
        local result = command({ "-e", "print((require 'mine'))" }, { env = { LUA_PATH = dir .. "/?.lua;;" } })
        check(result, "my module\n")
        process.remove(dir)
    end)

    it("P3: NEAP_BACKEND names the backend of the command", function()
        for _, name in ipairs { "epoll", "poll" } do
            check(command({ "-e", "print(require 'neap'.loop():backend())" }, { env = { NEAP_BACKEND = name } }),
                name .. "\n")
        end
        local result = command({ "-e", "print 'never'" }, { env = { NEAP_BACKEND = "steam" } })
        assert.equal(1, result.code)
        assert.equal("", result.out)
        helper.contains("steam", result.err)
    end)
end)

describe("signals", function()
    local sleeper = [[
        local neap = require "neap"
        io.stdout:setvbuf "line"
        print "started now"
        local ok, err = pcall(neap.sleep, 1000)
        print("cleanup", neap.is_cancelled(err))
        neap.sleep(0.01)
        print "cleaned up"
        error(err, 0)
    ]]
    local stubborn = [[
        local neap = require "neap"
        io.stdout:setvbuf "line"
        print "started now"
        while true do
            pcall(neap.sleep, 1000)
            print "again please"
        end
    ]]
    local background = [[
        local neap = require "neap"
        io.stdout:setvbuf "line"
        neap.spawn(function()
            pcall(neap.sleep, 1000)
            print "background cleaned up"
        end)
        print "started now"
        neap.sleep(1000)
    ]]

    for name, code in pairs { INT = 130, TERM = 143 } do
        it("N20: one SIG" .. name .. " cancels the main task, whose cleanup may wait; exit status " .. code, function()
            local child = process.start_lua(sleeper, { command = true })
            child:await_line "started (%w+)"
            child:signal(name)
            assert.equal(code, child:wait())
            assert.equal("started now\ncleanup\ttrue\ncleaned up\n", child:out())
            assert.equal("", child:err())
            child:dispose()
        end)

        it("N20: a second SIG" .. name .. " ends a program that will not", function()
            local child = process.start_lua(stubborn, { command = true })
            child:await_line "started (%w+)"
            child:signal(name)
            child:await_line "again (%w+)"
            child:signal(name)
            assert.equal(code, child:wait())
            child:dispose()
        end)
    end

    it("N20: other tasks are cancelled and clean up as well", function()
        local child = process.start_lua(background, { command = true })
        child:await_line "started (%w+)"
        child:signal "INT"
        assert.equal(130, child:wait())
        assert.equal("started now\nbackground cleaned up\n", child:out())
        child:dispose()
    end)

    it("N20: a signal after the end of the main task, while others clean up, does no harm", function()
        local child = process.start_lua([[
            local neap = require "neap"
            io.stdout:setvbuf "line"
            neap.spawn(function()
                pcall(neap.sleep, 1000)
                print "started cleanup"
                neap.sleep(0.5)
                print "cleaned up"
            end)
            neap.yield()
        ]], { command = true })
        child:await_line "started (%w+)"
        child:signal "INT"
        child:wait()
        assert.equal("started cleanup\ncleaned up\n", child:out())
        assert.equal("", child:err())
        child:dispose()
    end)

    it("N20: a signal in a loop without waits takes effect at the second one", function()
        local child = process.start_lua([[
            io.stdout:setvbuf "line"
            print "started now"
            while true do end
        ]], { command = true })
        child:await_line "started (%w+)"
        child:signal "INT"
        os.execute "sleep 0.2"
        child:signal "INT"
        assert.equal(130, child:wait())
        child:dispose()
    end)

    it("N20: an ignored signal stays ignored for the programs that expect it", function()
        local result = process.run({ "sh", "-c", "trap '' INT; exec '" .. helper.command ..
            "' -e \"local neap = require 'neap' os.execute('kill -INT ' .. io.open('/proc/self/stat'):read('*n')) "
            .. "neap.sleep(0.05) print 'still here'\"" })
        assert.equal(0, result.code)
        assert.equal("still here\n", result.out)
    end)
end)
