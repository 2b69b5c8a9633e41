-- Keeps programs running: starts them in order, prints what they write behind their names, and starts again what ends.
-- After Erlang's one_for_one: who restarts more often than `intensity` times in `period` seconds ends the supervisor.
--   neap scripts/supervisor.lua config.lua
-- The file returns a table; SIGHUP reads it again, and only what has changed is stopped or started. SIGTERM and SIGINT
-- stop all in the reverse order.
--   return {
--       intensity = 5, period = 10,
--       { name = "web", "python3", "-m", "http.server", cwd = "/srv/www" },
--       { name = "job", "sh", "-c", "sleep 5", restart = "transient", grace = 10 },
--   }
-- `restart`: "permanent" (default), "transient" (unless it ended with 0), "temporary" (never). `backoff` and
-- `backoff_most`: the seconds before a restart, twice as many each time (0.1 and 5). Other options are neap.process's.
local neap = require "neap"

local out = assert(neap.shared_stream(1))

local function log(...)
    io.stderr:write("supervisor: ", ...)
    io.stderr:write "\n"
end

-- The configuration

local own_options = { name = true, restart = true, backoff = true, backoff_most = true }
local policies = { permanent = true, transient = true, temporary = true }

local function check(config)
    assert(type(config) == "table", "the file does not return a table")
    local seen = {}
    for i, program in ipairs(config) do
        assert(type(program.name) == "string", "program " .. i .. " has no name")
        assert(not seen[program.name], "two programs are named " .. program.name)
        assert(program[1], program.name .. ": no command")
        local policy = program.restart or "permanent"
        assert(policies[policy], program.name .. ": restart is permanent, transient or temporary")
        seen[program.name] = true
    end
    return config
end

local function load_config(path)
    local chunk = assert(loadfile(path))
    return check(chunk())
end

local function equal(a, b)
    if type(a) ~= "table" or type(b) ~= "table" then return a == b end
    for key, value in pairs(a) do
        if not equal(value, b[key]) then return false end
    end
    for key in pairs(b) do
        if a[key] == nil then return false end
    end
    return true
end

-- One program

local function options_of(program)
    local options = {}
    for key, value in pairs(program) do
        if not own_options[key] then options[key] = value end
    end
    options.stdin = options.stdin or "null"
    options.stdout, options.stderr = "pipe", "stdout"
    options.process_group = true -- what it has started ends with it
    options.death_signal = options.death_signal or "TERM" -- if the supervisor itself is killed
    return options
end

local function copy_lines(name, stream)
    while true do
        local line, err = stream:read_line()
        if not line and err and err.code == "limit" then
            line = stream:read_some(4096) -- a long line comes in pieces
        end
        if not line then return end
        out:write(name, ": ", line, "\n")
    end
end

-- Runs it until it ends: as process:wait answers, or nil and why it could not start.
local function run_once(program)
    return neap.group(function(group)
        local process, err = neap.process(options_of(program))
        if not process then return nil, tostring(err) end
        log(program.name, ": started, process ", process.pid)
        local copier = group:spawn(copy_lines, program.name, process.stdout)
        local ok, how, code = process:wait()
        neap.move_on(0.5, neap.wait, { copier }) -- others may have the pipe, too
        copier:cancel()
        process.stdout:abort()
        return ok, how, code
    end)
end

local function is_to_restart(program, ok)
    local policy = program.restart or "permanent"
    return policy == "permanent" or policy == "transient" and not ok
end

-- Whether one more restart now is too many.
local function is_too_often(restarts, config)
    local now = neap.loop():time()
    table.insert(restarts, now)
    while restarts[1] < now - (config.period or 10) do
        table.remove(restarts, 1)
    end
    return #restarts > (config.intensity or 5)
end

local function keep_running(program, config, events)
    local restarts, first = {}, program.backoff or 0.1
    local pause = first
    while true do
        local began = neap.loop():time()
        local ok, how, code = run_once(program)
        log(program.name, ": ", code and how .. " " .. code or tostring(how))
        if not is_to_restart(program, ok) then return end
        if is_too_often(restarts, config) then
            events:send { failed = program.name }
            return
        end
        if neap.loop():time() - began > (config.period or 10) then pause = first end
        neap.sleep(pause)
        pause = math.min(2 * pause, program.backoff_most or 5)
    end
end

-- All of them

local children = {} -- in order of their start: { program, task }

local function stop(child)
    if child.task:done() then return end
    child.task:cancel() -- which ends the process, and waits for that
    neap.wait { child.task }
    log(child.program.name, ": stopped")
end

local function find(list, program)
    for i, other in ipairs(list) do
        if equal(other.program or other, program) then return i end
    end
end

-- Stops in reverse order what is not in the configuration any more, then starts what is new.
local function apply(config, group, events)
    for i = #children, 1, -1 do
        if not find(config, children[i].program) then stop(table.remove(children, i)) end
    end
    for _, program in ipairs(config) do
        if not find(children, program) then
            local task = group:spawn { keep_running, program, config, events, name = program.name }
            children[#children + 1] = { program = program, task = task }
        end
    end
end

local function reload(path, group, events)
    local ok, config = pcall(load_config, path)
    if ok then
        apply(config, group, events)
        log "configuration read"
    else
        log("the configuration stays as it is: ", tostring(config))
    end
end

-- Until the end is asked for; answers the exit status.
local function supervise(path, group, events)
    while true do
        local event = events:recv()
        if event.failed then
            log(event.failed, ": too many restarts")
            return 1
        elseif event.signal ~= "HUP" then
            return 0
        end
        reload(path, group, events)
    end
end

local path = arg and arg[1]
if not path then
    io.stderr:write "usage: neap scripts/supervisor.lua config.lua\n"
    neap.exit(2)
end
local config = load_config(path)
local events = neap.channel(16)
local signals = neap.signal("HUP", "TERM", "INT")
neap.spawn {
    function()
        local name = signals:recv()
        while name do
            events:send { signal = name }
            name = signals:recv()
        end
    end,
    background = true,
}

local status = neap.group(function(group)
    apply(config, group, events)
    log "ready"
    local status = supervise(path, group, events)
    signals:close() -- from now on a signal ends the supervisor itself
    apply({}, group, events)
    return status
end, { policy = "supervise" })
out:drain()
neap.exit(status)
