-- The prompt of the command: on a terminal, and with standard input from elsewhere.
local helper = require "support.helper"
local process = require "support.process"

local has_editor = process.capture("ldd " .. process.quote(helper.command)):find("libedit", 1, true) ~= nil

-- A container may be without; a machine is not.
local has_terminals = process.run({ "python3", "-c", "import pty; pty.openpty()" }).code == 0

local UP, BACKSPACE, INTERRUPT, END = "\27[A", "\127", "\3", "\4"

local function escape(text)
    return (text:gsub("%W", function(c) return ("\\x%02x"):format(c:byte()) end))
end

-- Runs the command on a terminal. steps: { "await", text } and { "send", text }.
local function talk(steps, options)
    if not has_terminals then pending "there are no terminals here: /dev/pts is not mounted" end
    options = options or {}
    local dir = options.home or process.temp_dir()
    local lines = {}
    for i, step in ipairs(steps) do
        lines[i] = step[1] .. " " .. escape(step[2]) .. "\n"
    end
    process.write_file(dir .. "/steps", table.concat(lines))
    local argv = { "python3", helper.source_dir .. "/tests/lua/support/terminal.py", tostring(helper.patience),
        dir .. "/steps", helper.command }
    for _, arg in ipairs(options.args or { "-i" }) do argv[#argv + 1] = arg end
    local env = { HOME = dir, TERM = "xterm", LC_ALL = "C.UTF-8", XDG_STATE_HOME = options.state or false }
    local result = process.run(argv, { env = env })
    if not options.home then process.remove(dir) end
    return result
end

-- A session: each line is typed when the prompt is there, and what is then awaited must come.
local function session(pairs_, options)
    local steps = { { "await", "> " } }
    for _, pair in ipairs(pairs_) do
        steps[#steps + 1] = { "send", pair[1] .. (pair.raw and "" or "\r") }
        for i = 2, #pair do steps[#steps + 1] = { "await", pair[i] } end
    end
    steps[#steps + 1] = { "send", END }
    local result = talk(steps, options)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return result.out
end

describe("prompt on a terminal", function()
    it("R1: the banner says what it is and how to leave, and Ctrl-D leaves with status 0", function()
        local out = session {}
        helper.contains("neap 0.1.0, Lua", out)
        helper.contains("Ctrl-D", out)
    end)

    it("R1: without arguments there is a prompt", function()
        session({ { "6*7", "42", "> " } }, { args = {} })
    end)

    it("R1: expressions show their values, statements run, globals persist and locals do not", function()
        session {
            { "x = 5", "> " },
            { "x + 1, 'two'", "6\ttwo", "> " },
            { "=x", "5", "> " },
            { "local y = 1", "> " },
            { "y == nil", "true", "> " },
            { "return x * 100", "500", "> " },
            { "neap.current_task():name()", "main", "> " },
        }
    end)

    it("R1: a line may wait, and other tasks run meanwhile", function()
        session {
            { "t = neap.spawn(function() neap.sleep(0.01) return 'from ' .. 'the task' end)", "> " },
            { "t:await()", "from the task", "> " },
            { "neap.sleep(0.01) return 'slept ' .. 'well'", "slept well", "> " },
        }
    end)

    it("R1: other tasks run and print while the prompt waits for the keyboard", function()
        session {
            { "neap.spawn(function() neap.sleep(0.05) print('tick' .. 'tock') end)", "> ", "ticktock" },
            { "'still ' .. 'here'", "still here", "> " },
        }
    end)

    it("R1: what another task prints leaves the line that is edited whole", function()
        if not has_editor then return pending "built without libedit" end
        session {
            { "neap.spawn(function() neap.sleep(0.3) print('tick' .. 'tock') end)", "> " },
            { "'half ' ..", "ticktock", "'half ' ..", raw = true },
            { " 'whole'", "half whole", "> " },
        }
    end)

    it("R1: an incomplete line asks for more", function()
        session {
            { "function f(a)", ">> " },
            { "return a * 2", ">> " },
            { "end", "> " },
            { "f(21)", "42", "> " },
        }
    end)

    it("R1: _PROMPT and _PROMPT2 are the prompts", function()
        session {
            { "_PROMPT, _PROMPT2 = 'ne' .. 'ap$ ', 'mo' .. 're$ '", "neap$ " },
            { "x = (", "more$ " },
            { "5)", "neap$ " },
        }
    end)

    it("R1: an error shows message and traceback, and the prompt goes on", function()
        session {
            { "function fails() error 'broken' end", "> " },
            { "fails()", "stdin:1: broken", "stack traceback:", "in function 'fails'", "stdin:1: in main chunk", "> " },
            { "neap.spawn(fails):await()", "broken", "reached: stack traceback:", "> " },
            { "x =", ">> " },
            { "= 1", "unexpected symbol", "> " },
            { "setmetatable({}, { __tostring = function() error 'no text' end })", "error calling 'print'", "> " },
            { "1 + 1", "2", "> " },
        }
    end)

    it("R1: the traceback has none of the prompt's own frames", function()
        local out = session { { "error 'broken'", "stack traceback:", "> " } }
        assert.is_nil(out:find("prompt.lua", 1, true))
    end)

    it("R1: a failure that nobody awaits is reported, and the prompt goes on", function()
        session {
            { "neap.spawn(error, 'un' .. 'heard') neap.sleep(0.01)", "unheard" },
            { "'still ' .. 'here'", "still here", "> " },
        }
    end)

    it("N20: Ctrl-C cancels the line that waits, and the prompt goes on", function()
        session {
            { "print('now ' .. 'waiting') neap.sleep(1000)", "now waiting" },
            { INTERRUPT, "cancelled: interrupted", "> ", raw = true },
            { "print('and ' .. 'again') neap.sleep(1000)", "and again" },
            { INTERRUPT, "cancelled: interrupted", "> ", raw = true },
            { "pcall(function() print('once ' .. 'more') neap.sleep(1000) end)", "once more" },
            { INTERRUPT, "false\tinterrupted", "> ", raw = true },
            { "1 + 1", "2", "> " },
        }
    end)

    it("N20: Ctrl-C stops a line that never waits", function()
        -- In Lua 5.1 a line runs in the coroutine of its protected call, where the hook of the task is not called.
        if helper.version == "5.1" then return end
        -- LuaJIT looks at no hook in compiled code.
        session {
            { "if jit then jit.off() end print('now ' .. 'busy') while true do end", "now busy" },
            { INTERRUPT, "interrupted", "> ", raw = true },
            { "'still ' .. 'here'", "still here", "> " },
        }
    end)

    it("N20: Ctrl-C at the prompt clears the line, and what it continued", function()
        session {
            { "x = (", ">> " },
            { "garbage", "garbage", raw = true },
            { INTERRUPT, "> ", raw = true },
            { "6 * 7", "42", "> " },
        }
    end)

    it("N20: SIGTERM ends the prompt", function()
        local result = talk {
            { "await", "> " },
            { "send", "os.execute('kill -TERM $PPID')\r" },
        }
        assert.equal(143, result.code)
    end)

    it("R1: neap.exit leaves with its status, and tasks clean up", function()
        local result = talk {
            { "await", "> " },
            { "send", "neap.spawn(function() pcall(neap.sleep, 1000) print('cleaned ' .. 'up') end) neap.sleep(0)\r" },
            { "await", "> " },
            { "send", "neap.exit(3)\r" },
            { "await", "cleaned up" },
        }
        assert.equal("", result.err)
        assert.equal(3, result.code)
    end)

    it("C12: the end of the prompt cancels what still runs and lets it clean up", function()
        local out = session {
            { "neap.spawn(function() pcall(neap.sleep, 1000) print('cleaned ' .. 'up') end) neap.sleep(0)", "> " },
        }
        helper.contains("cleaned up", out)
    end)

    it("R1: a line may read from the terminal", function()
        session {
            { "'got ' .. io.read()\rtyped for it", "got typed for it", "> " },
        }
    end)

    it("R1: the options and the script run first, and -v adds no second banner", function()
        local dir = process.temp_dir()
        process.write_file(dir .. "/s.lua", "from_script = ... .. from_option")
        local out = session({ { "from_script", "15", "> " } },
            { args = { "-v", "-i", "-e", "from_option = 5", dir .. "/s.lua", "1" } })
        process.remove(dir)
        assert.equal(1, select(2, out:gsub("neap 0%.1%.0", "")))
    end)

    it("R1: a script that fails leaves no prompt", function()
        local result = talk({}, { args = { "-i", "-e", "error 'broken'" } })
        assert.equal(1, result.code)
        helper.contains("broken", result.out)
        assert.is_nil(result.out:find("Ctrl-D", 1, true))
    end)

    it("R1: keys edit the line, in characters of several bytes, too", function()
        if not has_editor then return pending "built without libedit" end
        session {
            { "#'\195\164\195\182" .. BACKSPACE .. "'", "2", "> " },
            { "2 + 2\27[D\27[D\27[D\27[D3", "25", "> " },
            { "\27[5~1 + 1", "2", "> " }, -- a key that means nothing
        }
    end)
end)

describe("history of the prompt", function()
    if not has_editor then
        it("is kept by libedit", function() pending "built without libedit" end)
        return
    end

    it("R1: arrow-up recalls the lines of this run and of the one before", function()
        local home = process.temp_dir()
        session({ { "'fir' .. 'st'", "first", "> " }, { "'sec' .. 'ond'", "second", "> " },
            { UP .. UP, "first", "> " } }, { home = home })
        session({ { UP, "first", "> " } }, { home = home })
        local text = process.read_file(home .. "/.neap_history")
        process.remove(home)
        helper.contains("sec", text)
    end)

    it("R1: it is in XDG_STATE_HOME where that is set", function()
        local home = process.temp_dir()
        session({ { "1 + 1", "2", "> " } }, { home = home, state = home })
        local at_state = process.read_file(home .. "/neap/history")
        local at_home = process.read_file(home .. "/.neap_history")
        process.remove(home)
        helper.contains("1", at_state)
        assert.is_nil(at_home)
    end)

    it("R1: it keeps the last 1,000 lines", function()
        local home = process.temp_dir()
        local lines = { "_HiStOrY_V2_" }
        for i = 1, 1500 do lines[#lines + 1] = "old" .. i end
        process.write_file(home .. "/.neap_history", table.concat(lines, "\n") .. "\n")
        session({ { "1+1", "2", "> " } }, { home = home })
        local text = process.read_file(home .. "/.neap_history")
        process.remove(home)
        assert.equal(1001, select(2, text:gsub("\n", "")))
        helper.contains("old1500\n1+1\n", text)
    end)

    it("R1: where it cannot be written there is none, and no complaint", function()
        session({ { "1 + 1", "2", "> " } }, { state = "/dev/null" })
    end)
end)

describe("prompt without a terminal", function()
    local function pipe(input, args)
        local argv = { helper.command }
        for i, arg in ipairs(args or { "-i" }) do argv[i + 1] = arg end
        local home = process.temp_dir()
        local result = process.run(argv, { input = input, env = { HOME = home } })
        assert.is_nil(process.read_file(home .. "/.neap_history"))
        process.remove(home)
        assert.equal(0, result.code)
        -- Without the banner.
        return (result.out:gsub("^[^\n]*\n", "", 1)), result.err
    end

    it("R1: lines come from a file, prompts go to stdout and nothing is echoed", function()
        assert.same({ "> 2\n> >> >> done\n> \n", "" },
            { pipe "1 + 1\nfor _ = 1, 1 do\nprint 'done'\nend\n" })
    end)

    it("R1: lines come from a pipe", function()
        local result = process.run {
            "sh", "-c", "printf '1 + 1\\nneap.sleep(0.01)\\n3' | '" .. helper.command .. "' -i",
        }
        helper.contains("> 2\n> > 3\n> \n", result.out)
    end)

    it("R1: a line that reads from standard input gets the next line", function()
        assert.equal("> the next\n> 2\n> \n", (pipe "io.read()\nthe next\n1 + 1\n"))
    end)

    it("R1: other tasks run between the lines", function()
        assert.equal("> > task\n1\n> \n",
            (pipe "t = neap.spawn(print, 'task')\nneap.sleep(0.01) print(1)\n"))
    end)

    it("R1: errors go to stderr and the prompt goes on", function()
        local out, err = pipe "error 'broken'\n1 + 1\nx = (\n"
        assert.equal("> > 2\n> >> > \n", out)
        helper.contains("stdin:1: broken\nstack traceback:", err)
        helper.contains("<eof>", err)
    end)
end)
