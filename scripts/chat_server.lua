-- A chat by lines, with rooms and nick names. A client that does not read what it is sent never slows the others down
-- and never takes more memory than it may: it is dropped, or it misses messages and is told how many.
local USAGE = [[
usage: neap scripts/chat_server.lua [options] [LISTEN]
  LISTEN            HOST:PORT with a numeric host, or the path of a Unix socket (default 127.0.0.1:9527)
  --max N           clients at the same time (default 10000); more wait
  --unsent BYTES    that a client may have before it counts as slow (default 65536)
  --slow POLICY     "drop": a slow client is dropped (default); "skip": it misses what comes meanwhile
A client's lines go to its room, but for these:
  /nick NAME, /join ROOM, /who, /rooms, /quit
]]
local neap = require "neap"

local LINE_MAX = 1000 -- bytes
local GOODBYE = 1 -- seconds that the last words to all have

local settings = { max = 10000, unsent = 65536, slow = "drop", address = "127.0.0.1:9527" }

local function read_arguments(args)
    local i = 1
    while args[i] do
        local name = args[i]:match "^%-%-(%l+)$"
        if name == "max" or name == "unsent" then
            i = i + 1
            settings[name] = tonumber(args[i])
            if not settings[name] then return end
        elseif name == "slow" then
            i = i + 1
            settings.slow = args[i]
            if args[i] ~= "drop" and args[i] ~= "skip" then return end
        elseif args[i]:find "^%-" then
            return
        else
            settings.address = args[i]
        end
        i = i + 1
    end
    return true
end

-- Rooms and clients

local rooms = {} -- by name: { members = set of clients, n = their number }
local clients = {} -- by nick
local guests = 0

-- What cannot be sent now is never kept: the stream takes all of it or nothing.
local function send(client, text)
    if client.missed > 0 then
        local note = ("* you have missed %d messages\n"):format(client.missed)
        if client.stream:try_write(note, text) then
            client.missed = 0
            return
        end
    elseif client.stream:try_write(text) then
        return
    end
    if settings.slow == "skip" then
        client.missed = client.missed + 1
    else
        client.stream:abort() -- its read ends, and so does its task
    end
end

local function broadcast(room, text, except)
    for client in pairs(room.members) do
        if client ~= except then send(client, text) end
    end
end

local function leave(client)
    local room = rooms[client.room]
    room.members[client] = nil
    room.n = room.n - 1
    if room.n == 0 then
        rooms[client.room] = nil
    else
        broadcast(room, ("* %s has left\n"):format(client.nick))
    end
end

local function join(client, name)
    local room = rooms[name] or { members = {}, n = 0 }
    rooms[name] = room
    client.room = name
    room.members[client] = true
    room.n = room.n + 1
    broadcast(room, ("* %s has joined\n"):format(client.nick), client)
    send(client, ("* you are in %s with %d others\n"):format(name, room.n - 1))
end

local function sorted(set, text_of)
    local list = {}
    for key, value in pairs(set) do
        list[#list + 1] = text_of(key, value)
    end
    table.sort(list)
    return table.concat(list, ", ")
end

-- Commands; each answers what the client is told, or nothing.

local function is_name(text)
    return #text <= 20 and text:find "^[%w_-]+$" ~= nil
end

local commands = {}

function commands.nick(client, name)
    if not is_name(name) then return "a nick name has up to 20 letters, digits, - and _" end
    if clients[name] then return name .. " is somebody else" end
    clients[client.nick] = nil
    clients[name] = client
    broadcast(rooms[client.room], ("* %s is now %s\n"):format(client.nick, name))
    client.nick = name
end

function commands.join(client, name)
    if not is_name(name) then return "the name of a room has up to 20 letters, digits, - and _" end
    if name == client.room then return "you are there" end
    leave(client)
    join(client, name)
end

function commands.who(client)
    return sorted(rooms[client.room].members, function(member) return member.nick end)
end

function commands.rooms()
    return sorted(rooms, function(name, room) return ("%s (%d)"):format(name, room.n) end)
end

function commands.quit(client)
    client.over = true
    return "goodbye"
end

local function obey(client, line)
    local name, rest = line:match "^/(%a+)%s*(.-)%s*$"
    local command = commands[name]
    local answer = command and command(client, rest) or not command and "unknown command"
    if answer then send(client, ("* %s\n"):format(answer)) end
end

-- Connections

local function converse(client)
    while not client.over do
        local line, err = client.stream:read_line()
        if not line then
            if err and err.code == "limit" then send(client, "* this line is too long\n") end
            return
        end
        line = line:gsub("%c", "")
        if line:sub(1, 1) == "/" then
            obey(client, line)
        elseif line ~= "" then
            broadcast(rooms[client.room], ("<%s> %s\n"):format(client.nick, line), client)
        end
    end
end

local function serve(stream)
    guests = guests + 1
    local client = { stream = stream, nick = "guest" .. guests, missed = 0 }
    stream:limit(LINE_MAX)
    stream:set_marks(math.floor(settings.unsent / 4), settings.unsent)
    clients[client.nick] = client
    join(client, "lobby")
    local ok, err = neap.pcall(converse, client)
    leave(client)
    clients[client.nick] = nil
    if not ok then error(err, 0) end
end

if not read_arguments(arg) then
    local help = arg[1] == "--help";
    (help and io.stdout or io.stderr):write(USAGE)
    neap.exit(help and 0 or 2)
end

local server, failure = neap.serve(settings.address, serve, { max_connections = settings.max })
if not server then
    io.stderr:write("chat_server: ", tostring(failure), "\n")
    neap.exit(1)
end
print("listening on " .. server:addresses()[1])
io.stdout:flush()
neap.wait_shutdown()

-- Whoever closes a stream ends the read of its task.
neap.move_on(GOODBYE, neap.group, function(group)
    for _, client in pairs(clients) do
        send(client, "* the server stops\n")
        group:spawn(client.stream.close, client.stream)
    end
end)
server:close { grace = GOODBYE }
server:wait_closed()
