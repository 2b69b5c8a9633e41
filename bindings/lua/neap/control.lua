-- Questions about a running program: a server on a Unix socket that only its own user can open, which is a task in the
-- background, and the clients `neap ps` and `neap tree`.
local neap = require "neap"
local system = require(rawget(_G, "jit") and "neap.corejit" or "neap.core").control

local control = {}

local CLIENTS = 8 -- at the same time; more wait in the kernel's queue
local PATIENCE = 2 -- seconds for each other's next word
local QUESTION_MAX = 64

local function is_own(conn)
    return conn:getsockopt "peeruid" == system.uid()
end

-- Whether a socket is there that nobody listens on.
local function is_dead(path)
    local sock = neap.unix()
    local ok, err = sock:connect(path)
    sock:close()
    return not ok and err.code == "ECONNREFUSED"
end

local function pid_of(name)
    return tonumber(name:match "^(%d+)%.?%d*$")
end

-- The names of the sockets in order: that of a process, or PID.N for its further runs.
local function socket_names(directory)
    local names = {}
    for _, name in ipairs(system.names(directory)) do
        if pid_of(name) then names[#names + 1] = name end
    end
    table.sort(names, function(a, b)
        return tonumber(a) < tonumber(b)
    end)
    return names
end

-- In another namespace a process may live that cannot be seen from here: it must not answer, either.
local function remove_dead(directory)
    for _, name in ipairs(socket_names(directory)) do
        local path = directory .. "/" .. name
        if not system.is_alive(pid_of(name)) and is_dead(path) then os.remove(path) end
    end
end

-- The server

-- Workers of one process begin at their own numbers, so that none takes another's socket for a dead one's.
local function open(directory)
    local first, step = 0, 1
    if neap.worker then
        first, step = neap.worker.id, neap.worker.count + 1
    end
    local err
    for n = first, first + 99 * step, step do
        local path = directory .. "/" .. system.pid() .. (n > 0 and "." .. n or "")
        if is_dead(path) then os.remove(path) end -- of a process that had our number
        local listener = neap.unix()
        local ok
        ok, err = listener:bind(path)
        if ok then ok, err = listener:listen() end
        if ok then return listener, path end
        listener:close()
        if err.code ~= "EADDRINUSE" then break end
    end
    return nil, err
end

local function list(tasks, into)
    for _, task in ipairs(tasks) do
        into[#into + 1] = {
            tostring(task.id), task.name, tostring(task.steps), ("%.6f"):format(task.time), task.where or "-",
            task.doing,
        }
        list(task.tasks, into)
    end
    return into
end

-- Lines of columns; the last one is as wide as it wants.
local function columns(rows)
    local width = {}
    for _, row in ipairs(rows) do
        for i = 1, #row - 1 do
            width[i] = math.max(width[i] or 0, #row[i])
        end
    end
    local lines = {}
    for n, row in ipairs(rows) do
        for i = 1, #row - 1 do
            row[i] = row[i] .. (" "):rep(width[i] - #row[i])
        end
        lines[n] = table.concat(row, "  ") .. "\n"
    end
    return table.concat(lines)
end

local answers = {}

local function heading()
    local worker = neap.worker
    return worker and ("worker %d of %d\n"):format(worker.id, worker.count) or ""
end

function answers.ps()
    local rows = { { "ID", "NAME", "STEPS", "TIME", "LINE", "STATE" } }
    return heading() .. columns(list(neap.tree { format = "table" }.tasks, rows))
end

function answers.tree()
    return heading() .. neap.tree { stacks = true }
end

local function receive_question(conn)
    local text = ""
    repeat
        local data = conn:recv(QUESTION_MAX)
        text = text .. (data or "")
    until not data or #text >= QUESTION_MAX or text:find("\n", 1, true)
    return text:match "^(%l+)\n"
end

local function answer(conn)
    local fn = answers[receive_question(conn) or ""]
    if fn then conn:sendall(fn()) end
end

local function attend(conn, places)
    local ok, err = pcall(function()
        if is_own(conn) then neap.move_on(PATIENCE, answer, conn) end
    end)
    conn:close()
    places:release()
    if not ok then error(err, 0) end
end

local function accept_all(listener)
    local places = neap.semaphore(CLIENTS)
    while true do
        places:acquire()
        local conn = listener:accept()
        if conn then
            neap.spawn { attend, conn, places, name = "control client", owns = { conn } }
        else -- out of descriptors, say
            places:release()
            neap.sleep(0.1)
        end
    end
end

--- Answers questions until it is cancelled.
function control.serve()
    local directory, err = system.directory(true)
    local listener, path
    if directory then
        remove_dead(directory)
        listener, path = open(directory)
        err = path
    end
    if not listener then error("the program cannot be asked: " .. tostring(err), 0) end
    local _, failure = pcall(accept_all, listener)
    listener:close()
    os.remove(path)
    error(failure, 0)
end

-- The clients

-- The answer, or nil and why there is none.
local function ask(path, question)
    local conn = neap.unix()
    local ok, err = conn:connect(path)
    if not ok then
        conn:close()
        return nil, err
    end
    if not is_own(conn) then
        conn:close()
        return nil, "the process is another user's"
    end
    local parts, data = {}, ""
    conn:sendall(question .. "\n")
    while data do
        parts[#parts + 1] = data
        data = neap.move_on(PATIENCE, function()
            return conn:recv(65536) or false
        end)
    end
    conn:close()
    if data == nil then
        return nil, ("the loop has not answered for %d s; it is busy in a step"):format(PATIENCE)
    end
    local text = table.concat(parts)
    if text == "" then return nil, "no answer" end
    return text
end

-- Names may come from anywhere: a terminal is to see none that would move its cursor.
local function show(text)
    io.write((text:gsub("[%z\1-\8\11-\31\127]", "?")))
end

local function command_line(pid)
    local file = io.open("/proc/" .. pid .. "/cmdline", "rb")
    if not file then return "?" end
    local text = file:read "*a"
    file:close()
    return (text:gsub("[%z%s]+", " "):gsub(" $", ""))
end

local function list_processes(directory)
    remove_dead(directory)
    local rows = { { "PID", "COMMAND" } }
    for _, name in ipairs(socket_names(directory)) do
        rows[#rows + 1] = { name, command_line(pid_of(name)) }
    end
    show(columns(rows))
    return 0
end

local function fail(format, ...)
    io.stderr:write("neap: ", format:format(...), "\n")
    return 1
end

-- A number alone means all runs of the process.
local function ask_process(directory, question, wanted)
    local asked = 0
    local status = 0
    for _, name in ipairs(socket_names(directory)) do
        if name == wanted or tostring(pid_of(name)) == wanted then
            local text, err = ask(directory .. "/" .. name, question)
            asked = asked + 1
            if text then
                show(text)
            else
                status = fail("%s: %s", name, tostring(err))
            end
        end
    end
    if asked == 0 then
        return fail("process %s cannot be asked: it was not started with neap --control or NEAP_CONTROL=1", wanted)
    end
    return status
end

--- `neap ps [PID]` and `neap tree PID`: prints the answer; returns the exit status.
function control.command(verb, pid, ...)
    if select("#", ...) > 0 or (verb == "tree" and not pid) or (pid and not pid_of(pid)) then
        return fail(verb == "tree" and "usage: neap tree PID" or "usage: neap ps [PID]")
    end
    local directory, err = system.directory(false)
    if not directory then
        if err.code == "ENOENT" then return fail "no process can be asked: none was started with neap --control" end
        return fail("%s", tostring(err))
    end
    if not pid then return list_processes(directory) end
    return ask_process(directory, verb, pid)
end

return control
