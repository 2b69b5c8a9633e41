-- Follows log files: prints each line that is added to them, after the name of its file, or sends it to all who have
-- connected. A file may be cut, be moved away and made anew, or not be there yet.
local USAGE = [[
usage: neap scripts/tail.lua [options] FILE...
  --all             begin with what is in the files; default: with what is added
  --listen ADDRESS  send the lines to all who connect there (HOST:PORT with a numeric host, or the path of a Unix
                    socket) instead of printing them. Who reads too slowly misses lines and is told how many.
]]
local neap = require "neap"
local fs = neap.fs

local CHUNK = 65536 -- bytes per read, and of a line: a longer one comes in pieces
local PATIENCE = 1 -- seconds that files wait for a slow subscriber
local GOODBYE = 1 -- seconds that subscribers have to take what was sent to them

local settings = { all = false }
local names = {}

local function complain(text)
    io.stderr:write("tail: ", tostring(text), "\n")
end

local function read_arguments(args)
    local i = 1
    while args[i] do
        if args[i] == "--all" then
            settings.all = true
        elseif args[i] == "--listen" then
            i = i + 1
            settings.listen = args[i]
            if not args[i] then return end
        elseif args[i]:find "^%-" then
            return
        else
            names[#names + 1] = args[i]
        end
        i = i + 1
    end
    return #names > 0
end

-- Where lines go

local function print_lines(lines)
    assert(neap.stdout:write(lines))
end

local subscribers = {} -- stream -> number of lines that it has missed since it was last told
local turn = neap.lock() -- of one file's lines after the other's

-- Files can wait a little for who reads slowly, but not for who has missed something already.
local function await_subscribers()
    neap.move_on(PATIENCE, neap.group, function(group)
        for stream, missed in pairs(subscribers) do
            if missed == 0 then group:spawn(stream.drain, stream) end
        end
    end)
end

-- A stream takes all of it or nothing.
local function send_lines(lines)
    turn:with(function()
        await_subscribers()
        for stream, missed in pairs(subscribers) do
            local note = missed > 0 and ("* %d lines missed\n"):format(missed) or ""
            subscribers[stream] = stream:try_write(note, lines) and 0 or missed + #lines
        end
    end)
end

local emit = print_lines

-- What a subscriber sends is of no interest, only that it hangs up.
local function subscribe(stream)
    subscribers[stream] = 0
    neap.pcall(function()
        while stream:read_some() do end
    end)
    subscribers[stream] = nil
end

-- Files. A log is { name, path, file, offset of what was not read, the beginning of a line, changed = event }.

local function finish_line(log)
    if log.rest ~= "" then emit { log.name .. ": " .. log.rest .. "\n" } end
    log.rest = ""
end

-- Answers the whole lines; what stands behind the last is kept.
local function split(log, text)
    local lines, at = {}, 1
    local stop = text:find("\n", at, true)
    while stop do
        lines[#lines + 1] = log.name .. ": " .. text:sub(at, stop)
        at = stop + 1
        stop = text:find("\n", at, true)
    end
    log.rest = text:sub(at)
    return lines
end

local function read_rest(log)
    while true do
        local data, err = log.file:pread(CHUNK, log.offset)
        if not data then return err and complain(err) end
        log.offset = log.offset + #data
        local lines = split(log, log.rest .. data)
        if lines[1] then emit(lines) end
        if #log.rest >= CHUNK then finish_line(log) end
    end
end

local function close(log)
    finish_line(log)
    log.file:close()
    log.file = nil
end

local function same(a, b)
    return a and b and a.inode == b.inode and a.device == b.device
end

-- Reads what is new; goes on with the file that has the name now, if that is another one. Nothing tells that a file was
-- cut if it is as long as before when one looks.
local function catch_up(log)
    local known = log.file and log.file:stat()
    local now = fs.stat(log.path)
    if known and known.size < log.offset then
        finish_line(log)
        log.offset = 0
    end
    if log.file then read_rest(log) end
    if log.file and not same(known, now) then close(log) end
    if log.file or not now or now.type ~= "file" then return end
    log.file, log.offset, log.rest = fs.open(log.path), 0, ""
    if log.file then return catch_up(log) end
end

-- What was there before is not told, unless it is wanted.
local function begin(log)
    local file = fs.open(log.path)
    if not file then return end
    local found = file:stat()
    log.file, log.offset, log.rest = file, settings.all and 0 or found.size, ""
end

local function follow(log)
    begin(log)
    while true do
        catch_up(log)
        log.changed:wait()
        log.changed:clear()
    end
end

-- Directories are watched, because they also tell of a file that comes back under its name.
local function watch(directory, logs, watched)
    local event, err = watched:next()
    while event do
        for _, log in ipairs(logs) do
            if event.overflow or event.name == log.entry then log.changed:set() end
        end
        if event.gone then break end
        event, err = watched:next()
    end
    error(("%s cannot be watched any more: %s"):format(directory, tostring(err or "it is gone")), 0)
end

-- The files by their directories. Of a link the file behind it is followed.
local function by_directory()
    local found = {}
    for _, name in ipairs(names) do
        local path = fs.realpath(name) or name
        local directory, entry = path:match "^(.*/)([^/]+)$"
        directory, entry = directory or "./", entry or path
        found[directory] = found[directory] or {}
        table.insert(found[directory], { name = name, path = path, entry = entry, changed = neap.event() })
    end
    return found
end

local function run(group)
    for directory, logs in pairs(by_directory()) do
        local watched, err = fs.watch(directory)
        if not watched then error(err, 0) end
        group:spawn(watch, directory, logs, watched)
        for _, log in ipairs(logs) do group:spawn(follow, log) end
    end
    neap.wait_shutdown()
    group:cancel()
end

local function start_server()
    local server, err = neap.serve(settings.listen, subscribe)
    if not server then error(err, 0) end
    emit = send_lines
    print("listening on " .. server:addresses()[1])
    io.stdout:flush()
    return server
end

-- Whoever closes a stream ends the read of its task.
local function stop_server(server)
    neap.move_on(GOODBYE, neap.group, function(group)
        for stream in pairs(subscribers) do group:spawn(stream.close, stream) end
    end)
    server:close { grace = GOODBYE }
    server:wait_closed()
end

if not read_arguments(arg) then
    local help = arg[1] == "--help";
    (help and io.stdout or io.stderr):write(USAGE)
    neap.exit(help and 0 or 2)
end

local ok, err = neap.pcall(function()
    local server = settings.listen and start_server()
    neap.group(run)
    if server then stop_server(server) end
end)
if not ok then
    if neap.is_cancelled(err) then error(err, 0) end
    complain(err.errors and err.errors[1] or err)
    neap.exit(1)
end
