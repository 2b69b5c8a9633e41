-- The server: its clients, what they do beside asking for data (transactions, channels, waiting), and what is logged.
local neap = require "neap"
local commands = require "redis.commands"
local resp = require "redis.resp"
local store = require "redis.store"

local bulk, integer, failure, list = resp.bulk, resp.integer, resp.failure, resp.list
local OK = resp.OK

local DATABASES = 16
local BEHIND_MOST = 32 * 1024 * 1024 -- unsent bytes of a subscriber that does not read

local server = {}
server.__index = server

function server.new(clock)
    local self = setmetatable({
        clock = clock, stores = {}, clients = {}, ids = 0, channels = {}, patterns = {}, waiting = {},
        done = 0, started = clock(),
    }, server)
    for i = 0, DATABASES - 1 do self.stores[i] = store.new(clock) end
    return self
end

-- --- The log --------------------------------------------------------------------------------------------

-- A request that says when instead of how long, so that it can be done again later.
local function log_lasting(self, db, words)
    local key = words[2]
    local deadline, value = db.deadlines[key], db.values[key]
    if value == nil then
        self.log:append { "DEL", key }
        return
    end
    if words[1]:upper():find("SET", 1, true) then self.log:append { "SET", key, value } end
    if deadline then self.log:append { "PEXPIREAT", key, ("%d"):format(deadline) } end
end

local relative = { SET = true, SETEX = true, PSETEX = true, EXPIRE = true, PEXPIRE = true }

local function log_request(self, client, name, words)
    if self.logged_index ~= client.index then
        self.logged_index = client.index
        self.log:append { "SELECT", tostring(client.index) }
    end
    if relative[name] and (name ~= "SET" or words[4]) then
        log_lasting(self, client.db, words)
    else
        self.log:append(words)
    end
end

-- All that is there, as requests.
function server:snapshot()
    local out = {}
    local function add(...)
        out[#out + 1] = resp.request { ... }
    end
    for index = 0, DATABASES - 1 do
        local db = self.stores[index]
        if db.size > 0 then add("SELECT", tostring(index)) end
        for key, value in pairs(db.values) do
            local kind = store.kind_of(value)
            if kind == "string" then
                add("SET", key, value)
            elseif kind == "list" then
                for i = value.first, value.last do add("RPUSH", key, value[i]) end
            else
                for field, text in pairs(value.fields) do add("HSET", key, field, text) end
            end
            if db.deadlines[key] then add("PEXPIREAT", key, ("%d"):format(db.deadlines[key])) end
        end
    end
    return out
end

-- --- Requests -------------------------------------------------------------------------------------------

-- Commands of the connection or the server: run(self, client, words) answers a reply, or nil if it has been sent.
local own = {}

local function own_command(name, least, most, run, always)
    own[name] = { run = run, least = least, most = most or nil, always = always }
end

local function wrong_count(name)
    return failure("ERR wrong number of arguments for '" .. name:lower() .. "' command")
end

-- Whoever waits for an element of the list gets it, the first first.
local function serve_waiting(self, db, key)
    local queue = self.waiting[db] and self.waiting[db][key]
    local value = queue and db:get(key)
    while value and value.kind == "list" and value:len() > 0 and queue[1] do
        local waiter = table.remove(queue, 1)
        if not waiter.answer:done() then
            local text = waiter.left and value:pop_left() or value:pop_right()
            waiter.answer:set_result { key, text }
            if self.log then log_request(self, waiter.client, "POP", { waiter.left and "LPOP" or "RPOP", key }) end
            if value:len() == 0 then db:remove(key) else db:touch(key) end
        end
    end
end

-- Asks for data, in the client's name.
function server:ask(client, name, command, words)
    local db = client.db
    local before = db.changes
    local reply = command.run(db, words)
    if db.changes ~= before and command.writes then
        if self.log then log_request(self, client, name, words) end
        if next(self.waiting) then serve_waiting(self, db, name == "RPOPLPUSH" and words[3] or words[2]) end
    end
    return reply
end

local subscribed_only = failure(
    "ERR only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")

function server:execute(client, words)
    local name = words[1]:upper()
    local command, mine = commands[name], own[name]
    local known = mine or type(command) == "table" and command
    self.done = self.done + 1
    if not known then
        client.broken = client.queue ~= nil
        return failure("ERR unknown command '" .. words[1]:gsub("%c", " ") .. "'")
    elseif #words < known.least or known.most and #words > known.most then
        client.broken = client.queue ~= nil
        return wrong_count(name)
    elseif client.subscriptions > 0 and not (mine and mine.always == "subscribed") then
        return subscribed_only
    elseif client.queue and not (mine and (mine.always == true or name == "QUIT")) then
        client.queue[#client.queue + 1] = words
        return resp.QUEUED
    elseif mine then
        return mine.run(self, client, words)
    elseif command.writes and self.log and self.log.failed then
        return failure "MISCONF Errors writing to the append-only file: writes are refused until it works again"
    end
    return self:ask(client, name, command, words)
end

-- A request of the log, done again.
function server:redo(client, words)
    local name = words[1]:upper()
    local command = commands[name] or own[name]
    if not command then error("the log has an unknown command '" .. words[1] .. "'", 0) end
    if commands[name] then
        command.run(client.db, words)
    else
        command.run(self, client, words)
    end
end

-- --- Connections ----------------------------------------------------------------------------------------

function server:client(stream)
    self.ids = self.ids + 1
    return { stream = stream, id = self.ids, index = 0, db = self.stores[0], subscriptions = 0, name = "", out = {} }
end

-- Answers all requests that are there; what goes wrong with their form is raised.
local function answer_ready(self, client, source)
    local words = source:ready()
    while words and not client.closing do
        local reply = self:execute(client, words)
        client.out[#client.out + 1] = reply
        words = source:ready()
    end
end

-- What was answered so far goes to the client, when the log has it.
local function send_replies(self, client)
    local out = client.out
    client.out = {}
    if self.log then self.log:settle() end
    if not out[1] then return true end
    return client.stream:write(out)
end

local function converse(self, client, stream)
    local source = resp.source(stream)
    while not client.closing do
        local more, err = source:fill()
        if not more then return more, err end
        local ok, problem = neap.pcall(answer_ready, self, client, source)
        if not ok then
            if type(problem) ~= "string" then error(problem, 0) end
            client.out[#client.out + 1] = failure("ERR Protocol error: " .. problem)
            client.closing = true
        end
        local sent, failed = send_replies(self, client)
        if not sent then return sent, failed end
    end
end

local function forget(self, client)
    self.clients[client] = nil
    for name in pairs(client.channels or {}) do self:leave(client, "channels", name) end
    for name in pairs(client.patterns or {}) do self:leave(client, "patterns", name) end
    self:unwatch(client)
end

-- The life of a connection.
function server:handle(stream)
    local client = self:client(stream)
    self.clients[client] = true
    local ok, err = neap.pcall(converse, self, client, stream)
    forget(self, client)
    if not ok then error(err, 0) end
end

own_command("PING", 1, 2, function(_, client, words)
    if client.subscriptions > 0 then return list { "pong", words[2] or "" } end
    return words[2] and bulk(words[2]) or "+PONG\r\n"
end, "subscribed")

own_command("ECHO", 2, 2, function(_, _, words) return bulk(words[2]) end)

own_command("QUIT", 1, false, function(_, client)
    client.closing = true
    return OK
end, "subscribed")

own_command("SELECT", 2, 2, function(self, client, words)
    local index = tonumber(words[2])
    if not index or not self.stores[index] then return failure "ERR DB index is out of range" end
    client.index, client.db = index, self.stores[index]
    return OK
end)

own_command("FLUSHALL", 1, 2, function(self, client, words)
    for i = 0, DATABASES - 1 do self.stores[i]:clear() end
    if self.log then log_request(self, client, "FLUSHALL", words) end
    return OK
end)

own_command("CLIENT", 2, false, function(self, client, words)
    local what = words[2]:upper()
    if what == "ID" then return integer(client.id) end
    if what == "GETNAME" then return bulk(client.name) end
    if what == "SETINFO" then return OK end
    if what == "SETNAME" and words[3] then
        client.name = words[3]
        return OK
    elseif what == "LIST" then
        local lines = {}
        for other in pairs(self.clients) do
            lines[#lines + 1] = ("id=%d addr=%s name=%s db=%d sub=%d"):format(
                other.id, tostring((other.stream:peer())), other.name, other.index, other.subscriptions)
        end
        return bulk(table.concat(lines, "\n") .. "\n")
    end
    return failure("ERR unknown subcommand '" .. words[2] .. "'")
end)

own_command("HELLO", 1, false, function(_, client, words)
    if words[2] and words[2] ~= "2" then return failure "NOPROTO sorry, this protocol version is not supported" end
    return resp.replies { bulk "server", bulk "neap", bulk "proto", integer(2), bulk "id", integer(client.id) }
end)

own_command("COMMAND", 1, false, function(_, _, words)
    if words[2] and words[2]:upper() == "COUNT" then
        local n = 0
        for _, command in pairs(commands) do n = n + (type(command) == "table" and 1 or 0) end
        for _ in pairs(own) do n = n + 1 end
        return integer(n)
    end
    return list {}
end)

own_command("CONFIG", 2, false, function(self, _, words)
    if words[2]:upper() ~= "GET" then return OK end
    local known = {
        save = "", appendonly = self.log and "yes" or "no", appendfsync = self.log and self.log.sync or "no",
        databases = tostring(DATABASES),
    }
    local out = {}
    for i = 3, #words do
        local value = known[words[i]:lower()]
        if value then
            out[#out + 1] = words[i]
            out[#out + 1] = value
        end
    end
    return list(out)
end)

own_command("TIME", 1, 1, function(self)
    local now = self.clock()
    return list { ("%d"):format(math.floor(now / 1000)), ("%d"):format(now % 1000 * 1000) }
end)

own_command("INFO", 1, false, function(self)
    local clients, keys = 0, {}
    for _ in pairs(self.clients) do clients = clients + 1 end
    for i = 0, DATABASES - 1 do
        local n = self.stores[i].size
        if n > 0 then keys[#keys + 1] = ("db%d:keys=%d,expires=0"):format(i, n) end
    end
    return bulk(table.concat({
        "# Server", "redis_version:7.0.0", "server:neap", "process_uptime:" .. math.floor((self.clock() - self.started) / 1000),
        "# Clients", "connected_clients:" .. clients,
        "# Stats", "total_commands_processed:" .. self.done,
        "# Persistence", "aof_enabled:" .. (self.log and 1 or 0),
        "aof_last_write_status:" .. (self.log and self.log.failed and "err" or "ok"),
        "# Keyspace", table.concat(keys, "\r\n"), "",
    }, "\r\n"))
end)

own_command("BGREWRITEAOF", 1, 1, function(self)
    if not self.log then return failure "ERR there is no append-only file" end
    self.logged_index = nil
    local requests = self:snapshot()
    neap.spawn(function()
        local ok, err = self.log:rewrite(requests)
        if not ok then neap.stderr:write("cannot rewrite the log: ", tostring(err), "\n") end
    end)
    return "+Background append only file rewriting started\r\n"
end)

own_command("SHUTDOWN", 1, 2, function(_, client)
    client.closing = true
    neap.shutdown "SHUTDOWN"
end)

-- --- Transactions ---------------------------------------------------------------------------------------

function server:unwatch(client)
    for db, keys in pairs(client.watches or {}) do
        for key in pairs(keys) do
            local watchers = db.watched[key]
            if watchers then
                watchers[client] = nil
                if next(watchers) == nil then db.watched[key] = nil end
            end
        end
    end
    client.watches, client.dirty = nil, nil
end

own_command("MULTI", 1, 1, function(_, client)
    if client.queue then return failure "ERR MULTI calls can not be nested" end
    client.queue, client.broken = {}, false
    return OK
end, true)

own_command("DISCARD", 1, 1, function(self, client)
    if not client.queue then return failure "ERR DISCARD without MULTI" end
    client.queue = nil
    self:unwatch(client)
    return OK
end, true)

own_command("EXEC", 1, 1, function(self, client)
    local queue = client.queue
    if not queue then return failure "ERR EXEC without MULTI" end
    local broken, dirty = client.broken, client.dirty
    client.queue = nil
    self:unwatch(client)
    if broken then return failure "EXECABORT Transaction discarded because of previous errors." end
    if dirty then return resp.NO_LIST end
    local replies = {}
    client.executing = true
    for i = 1, #queue do replies[i] = self:execute(client, queue[i]) end
    client.executing = false
    return resp.replies(replies)
end, true)

own_command("WATCH", 2, false, function(_, client, words)
    if client.queue then return failure "ERR WATCH inside MULTI is not allowed" end
    client.watches = client.watches or {}
    local keys = client.watches[client.db] or {}
    client.watches[client.db] = keys
    for i = 2, #words do
        local key = words[i]
        client.db:get(key) -- one whose time is over goes now, not during the watch
        keys[key] = true
        client.db.watched[key] = client.db.watched[key] or {}
        client.db.watched[key][client] = true
    end
    return OK
end, true)

own_command("UNWATCH", 1, 1, function(self, client)
    self:unwatch(client)
    return OK
end)

-- --- Waiting for elements of lists ----------------------------------------------------------------------

local function wait_for_element(self, client, words, left)
    local seconds = tonumber(words[#words])
    if not seconds or seconds < 0 then return failure "ERR timeout is not a float or out of range" end
    local db = client.db
    for i = 2, #words - 1 do
        local value = db:get(words[i])
        if value ~= nil and store.kind_of(value) ~= "list" then
            return commands.LLEN.run(db, { "LLEN", words[i] }) -- says what is wrong
        elseif value then
            local name = left and "LPOP" or "RPOP"
            local reply = self:ask(client, name, commands[name], { name, words[i] })
            return resp.replies { bulk(words[i]), reply }
        end
    end
    if client.executing then return resp.NO_LIST end
    local waiter = { answer = neap.future(), left = left, client = client }
    local queues = self.waiting[db] or {}
    self.waiting[db] = queues
    for i = 2, #words - 1 do
        queues[words[i]] = queues[words[i]] or {}
        table.insert(queues[words[i]], waiter)
    end
    send_replies(self, client)
    local found
    if seconds == 0 then
        found = waiter.answer:await()
    else
        found = neap.move_on(seconds, waiter.answer.await, waiter.answer)
    end
    waiter.answer:cancel()
    return found and list(found) or resp.NO_LIST
end

own_command("BLPOP", 3, false, function(self, client, words) return wait_for_element(self, client, words, true) end)
own_command("BRPOP", 3, false, function(self, client, words) return wait_for_element(self, client, words, false) end)

-- --- Channels -------------------------------------------------------------------------------------------

-- To a client that may be in the middle of something else; one that does not read is dropped.
local function send(client, text)
    client.stream:buffer(text)
    if client.stream:unsent() > BEHIND_MOST then client.stream:abort() end
end

-- `sort` is "channels" or "patterns".
local function join(self, client, sort, name)
    client[sort] = client[sort] or {}
    if not client[sort][name] then
        client[sort][name] = true
        client.subscriptions = client.subscriptions + 1
        self[sort][name] = self[sort][name] or { matches = commands.matcher(name), clients = {} }
        self[sort][name].clients[client] = true
    end
end

function server:leave(client, sort, name)
    if not client[sort] or not client[sort][name] then return end
    client[sort][name] = nil
    client.subscriptions = client.subscriptions - 1
    local members = self[sort][name].clients
    members[client] = nil
    if next(members) == nil then self[sort][name] = nil end
end

local function notice(what, name, client)
    return resp.replies { bulk(what), bulk(name), integer(client.subscriptions) }
end

for name, sort in pairs { SUBSCRIBE = "channels", PSUBSCRIBE = "patterns" } do
    own_command(name, 2, false, function(self, client, words)
        local out = {}
        for i = 2, #words do
            join(self, client, sort, words[i])
            out[#out + 1] = notice(name:lower(), words[i], client)
        end
        return table.concat(out)
    end, "subscribed")
end

for name, sort in pairs { UNSUBSCRIBE = "channels", PUNSUBSCRIBE = "patterns" } do
    own_command(name, 1, false, function(self, client, words)
        local names, out = { (table.unpack or unpack)(words, 2) }, {}
        if #names == 0 then
            for joined in pairs(client[sort] or {}) do names[#names + 1] = joined end
        end
        for _, joined in ipairs(names) do
            self:leave(client, sort, joined)
            out[#out + 1] = notice(name:lower(), joined, client)
        end
        return out[1] and table.concat(out) or notice(name:lower(), nil, client)
    end, "subscribed")
end

own_command("PUBLISH", 3, 3, function(self, _, words)
    local channel, text, n = words[2], words[3], 0
    local members = self.channels[channel]
    for client in pairs(members and members.clients or {}) do
        send(client, list { "message", channel, text })
        n = n + 1
    end
    for pattern, entry in pairs(self.patterns) do
        if entry.matches(channel) then
            for client in pairs(entry.clients) do
                send(client, list { "pmessage", pattern, channel, text })
                n = n + 1
            end
        end
    end
    return integer(n)
end)

own_command("PUBSUB", 2, false, function(self, _, words)
    local what, out = words[2]:upper(), {}
    if what == "CHANNELS" then
        local matches = commands.matcher(words[3] or "*")
        for name in pairs(self.channels) do
            if matches(name) then out[#out + 1] = name end
        end
        return list(out)
    elseif what == "NUMPAT" then
        for _ in pairs(self.patterns) do out[#out + 1] = true end
        return integer(#out)
    elseif what == "NUMSUB" then
        for i = 3, #words do
            local n = 0
            for _ in pairs(self.channels[words[i]] and self.channels[words[i]].clients or {}) do n = n + 1 end
            out[#out + 1] = bulk(words[i])
            out[#out + 1] = integer(n)
        end
        return resp.replies(out)
    end
    return failure("ERR unknown subcommand '" .. words[2] .. "'")
end)

return server
