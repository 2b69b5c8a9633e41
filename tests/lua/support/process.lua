-- Other programs for tests: run one to its end, or start one, talk to it by signals and wait for it.
local helper = require "support.helper"

local process = {}

function process.quote(text)
    return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function words(list)
    local quoted = {}
    for i = 1, #list do
        quoted[i] = process.quote(list[i])
    end
    return table.concat(quoted, " ")
end

function process.read_file(path)
    local file = io.open(path, "rb")
    if not file then
        return nil
    end
    local text = file:read "*a"
    file:close()
    return text
end

function process.write_file(path, text)
    local file = assert(io.open(path, "wb"))
    assert(file:write(text))
    assert(file:close())
end

-- The output of a shell command; for tools such as mktemp.
function process.capture(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read "*a"
    pipe:close()
    return text
end

function process.temp_dir()
    local path = process.capture("mktemp -d"):gsub("%s+$", "")
    assert(path ~= "", "no temporary directory")
    return path
end

function process.remove(path)
    os.execute("rm -rf " .. process.quote(path))
end

-- A sanitizer is loaded into stock interpreters only: what else runs here is not built for it.
local preload = os.getenv "LD_PRELOAD"

-- The words that start a program with the environment changed: name = value, false removes.
local function environment(env, first)
    local list = { "env" }
    for _, word in ipairs(first or {}) do
        list[#list + 1] = word
    end
    if preload then
        list[#list + 1] = "--unset=LD_PRELOAD"
    end
    for name, value in pairs(env or {}) do
        if value == false then
            list[#list + 1] = "--unset=" .. name
        end
    end
    for name, value in pairs(env or {}) do
        if value ~= false then
            list[#list + 1] = name .. "=" .. value
        end
    end
    return list
end

local function program(list, argv)
    if preload and argv[1] == helper.lua then
        list[#list + 1] = "env"
        list[#list + 1] = "LD_PRELOAD=" .. preload
    end
    for i = 1, #argv do
        list[#list + 1] = argv[i]
    end
end

-- Runs a program to its end.  options: input (text for stdin), env (name = value, false removes), dir,
-- seconds.  Returns { code=, out=, err= }; a program killed by signal n has code 128 + n.
function process.run(argv, options)
    options = options or {}
    local dir = process.temp_dir()
    process.write_file(dir .. "/in", options.input or "")
    local list = environment(options.env)
    list[#list + 1] = "timeout"
    list[#list + 1] = "--kill-after=5"
    list[#list + 1] = tostring(options.seconds or 2 * helper.patience)
    program(list, argv)
    local command = ("cd %s && %s <%s/in >%s/out 2>%s/err; echo $? >%s/code"):format(
        process.quote(options.dir or "."), words(list), dir, dir, dir, dir)
    os.execute(command)
    local result = {
        code = tonumber(process.read_file(dir .. "/code") or ""),
        out = process.read_file(dir .. "/out"),
        err = process.read_file(dir .. "/err"),
    }
    process.remove(dir)
    return result
end

-- Runs a Lua text with the interpreter that runs the tests, or with the neap command.
function process.run_lua(text, options)
    options = options or {}
    local dir = process.temp_dir()
    local script = dir .. "/" .. (options.name or "script.lua")
    process.write_file(script, text)
    local argv = { options.command and helper.command or helper.lua, script }
    for i = 1, #(options.args or {}) do
        argv[#argv + 1] = options.args[i]
    end
    local result = process.run(argv, options)
    process.remove(dir)
    result.script = script
    return result
end

function process.run_neap(text, options)
    options = options or {}
    options.command = true
    return process.run_lua(text, options)
end

-- --- programs that run beside the test -----------------------------------------------------

local Child = {}
Child.__index = Child

-- Starts a program in the background.  SIGINT and SIGQUIT have their default actions in it, which a shell takes away
-- from what it starts with "&".
function process.start(argv, options)
    options = options or {}
    local dir = process.temp_dir()
    local list = environment(options.env, { "--default-signal=INT,QUIT" })
    program(list, argv)
    local command = ("( cd %s && { %s </dev/null >%s/out 2>%s/err & echo $! >%s/pid.new; " ..
        "mv %s/pid.new %s/pid; wait $!; echo $? >%s/code.new; mv %s/code.new %s/code; } ) " ..
        ">/dev/null 2>&1 &"):format(
        process.quote(options.dir or "."), words(list), dir, dir, dir, dir, dir, dir, dir, dir)
    os.execute(command)
    local child = setmetatable({ dir = dir, name = argv[1] }, Child)
    child.pid = tonumber(child:await_file "pid")
    return child
end

function process.start_lua(text, options)
    options = options or {}
    local dir = process.temp_dir()
    process.write_file(dir .. "/script.lua", text)
    local child = process.start({
        options.command and helper.command or helper.lua, dir .. "/script.lua" }, options)
    child.extra = dir
    return child
end

local function pause()
    os.execute "sleep 0.02"
end

-- Waits until probe() answers; an error after helper.patience.
function process.await(what, probe)
    local deadline = os.time() + helper.patience
    while true do
        local answer = probe()
        if answer then
            return answer
        end
        if os.time() > deadline then
            error("gave up waiting for " .. what, 2)
        end
        pause()
    end
end

function Child:await_file(name)
    return process.await(name .. " of " .. self.name, function()
        local text = process.read_file(self.dir .. "/" .. name)
        return text and text ~= "" and text
    end)
end

function Child:out()
    return process.read_file(self.dir .. "/out") or ""
end

function Child:err()
    return process.read_file(self.dir .. "/err") or ""
end

-- Waits until the output has a line that matches; returns the captures.
function Child:await_line(pattern)
    return helper.unpack(process.await("a line '" .. pattern .. "' from " .. self.name, function()
        local found = { self:out():match(pattern) }
        if #found > 0 then
            return found
        end
        if self:ended() then
            error(self.name .. " ended: " .. self:err(), 0)
        end
    end))
end

function Child:signal(name)
    os.execute("kill -" .. name .. " " .. self.pid)
end

function Child:ended()
    return process.read_file(self.dir .. "/code") ~= nil
end

-- Waits for the end; returns the exit code, 128 + n after signal n.
function Child:wait()
    return tonumber(self:await_file "code")
end

-- The number of open descriptors.
function Child:descriptors()
    return tonumber(process.capture("ls /proc/" .. self.pid .. "/fd | wc -l"))
end

-- Ends the program if it still runs, and forgets its files.
function Child:dispose()
    if self.disposed then
        return
    end
    self.disposed = true
    if not self:ended() then
        self:signal "KILL"
        self:wait()
    end
    process.remove(self.dir)
    if self.extra then
        process.remove(self.extra)
    end
end

return process
