-- The server: its clients, how their requests are carried out, and what of them is logged.
local neap = require "neap"
local command = require "redis.command"
local resp = require "redis.resp"
local store = require "redis.store"

local failure = resp.failure

local FLUSH_AT = 256 * 1024 -- bytes of replies that are kept until a client's pipelined requests are all answered

local server = { DATABASES = 16 }
server.__index = server

-- `clock` answers the time of day in milliseconds.
function server.new(clock)
    local self = setmetatable({
        stores = {}, clients = {}, ids = 0, done = 0,
        channels = {}, patterns = {}, -- by name: { matches, clients = set }
        ready = {}, -- during a transaction: keys that those who wait for lists are to be served from
    }, server)
    self.clock = function() return self.loading and -math.huge or clock() end -- while the log is read nothing expires
    self.started = clock()
    for index = 0, server.DATABASES - 1 do
        self.stores[index] = store.new(self.clock, function(key)
            self:log_request(index, { "DEL", key })
        end)
    end
    return self
end

-- --- The log --------------------------------------------------------------------------------------------

-- The request in a form that has the same effect later: with a time instead of a duration.
local function lasting(name, db, words)
    local key = words[2]
    local deadline, value = db.deadlines[key], db.values[key]
    if value == nil then return { "DEL", key } end
    if not name:find("SET", 1, true) then return { "PEXPIREAT", key, ("%d"):format(deadline) } end
    if not deadline then return { "SET", key, value } end
    return { "SET", key, value, "PXAT", ("%d"):format(deadline) }
end

local is_relative = { SET = true, SETEX = true, PSETEX = true, EXPIRE = true, PEXPIRE = true, EXPIREAT = true }

-- Answers a future if somebody has to wait until the log has it.
function server:log_request(index, words)
    local log = self.log
    if not log then return nil end
    if self.executing and not self.grouped then
        self.grouped = true
        log:append { "MULTI" }
    end
    if self.logged_index ~= index then
        self.logged_index = index
        log:append { "SELECT", tostring(index) }
    end
    return log:append(words)
end

-- What is written to the log from here on to finish() is done again as a whole or not at all. No wait may come
-- between.
function server:begin()
    self.executing = true
end

function server:finish(client)
    self.executing = false
    if self.grouped then
        self.grouped = false
        client.batch = self.log:append { "EXEC" } or client.batch
    end
    local ready = self.ready
    self.ready = {}
    for i = 1, #ready do self:serve_waiting(ready[i].db, ready[i].key) end
end

local LIST_STEP = 64 -- elements of a list in one request

-- All that is there, as requests.
function server:snapshot()
    local out = {}
    local function add(...)
        out[#out + 1] = resp.request { ... }
    end
    local function add_list(key, list)
        for i = list.first, list.last, LIST_STEP do
            local words = { "RPUSH", key }
            for j = i, math.min(i + LIST_STEP - 1, list.last) do words[#words + 1] = list[j] end
            out[#out + 1] = resp.request(words)
        end
    end
    for index = 0, server.DATABASES - 1 do
        local db = self.stores[index]
        if db.size > 0 then add("SELECT", tostring(index)) end
        for key, value in pairs(db.values) do
            if type(value) == "string" then
                add("SET", key, value)
            elseif value.kind == "list" then
                add_list(key, value)
            else
                for field, text in pairs(value.fields) do add("HSET", key, field, text) end
            end
            if db.deadlines[key] then add("PEXPIREAT", key, ("%d"):format(db.deadlines[key])) end
        end
    end
    self.logged_index = nil
    return out
end

-- A request of the log, done again.
function server:redo(client, words)
    local known = command.find(words[1])
    if not known then error("unknown command '" .. words[1] .. "'", 0) end
    if known.own then
        known.run(self, client, words)
    else
        known.run(client.db, words)
    end
end

-- --- Requests -------------------------------------------------------------------------------------------

-- Whoever waits for an element of the list gets it, the first first.
function server:serve_waiting(db, key)
    local queue = db.waiting[key]
    local value = queue and db:get(key)
    if not value or value.kind ~= "list" then return end
    for _, waiter in ipairs(queue) do
        if value:len() == 0 then return end
        if not waiter.found then
            waiter.found = { key, waiter.pop(value) }
            waiter.event:set()
            waiter.client.batch = self:log_request(waiter.client.index, { waiter.name, key })
            command.changed(db, key, value:len())
        end
    end
end

local function list_has_grown(self, db, key)
    if not db.waiting[key] then return end
    if self.executing then
        self.ready[#self.ready + 1] = { db = db, key = key }
    else
        self:serve_waiting(db, key)
    end
end

-- Asks for data, in the client's name.
function server:ask(client, known, words)
    local db = client.db
    local before = db.changes
    local reply = known.run(db, words)
    if known.writes and db.changes ~= before then
        if self.log then
            local name = known.name
            local as_asked = not is_relative[name] or name == "SET" and not words[4]
            client.batch = self:log_request(client.index, as_asked and words or lasting(name, db, words))
        end
        if next(db.waiting) then
            list_has_grown(self, db, words[2])
            if words[3] then list_has_grown(self, db, words[3]) end -- RPOPLPUSH and RENAME
        end
    end
    return reply
end

local LOG_FAILS = failure "MISCONF Errors writing to the append-only file: writes are refused until it works again"
local NOT_SUBSCRIBED =
    "ERR Can't execute '%s': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT are allowed in this context"

local function refuse(client, reply)
    if client.queue then client.broken = true end -- EXEC will refuse, too
    return reply
end

-- Answers the reply.
function server:execute(client, words)
    local known, n = command.find(words[1]), #words
    self.done = self.done + 1
    if not known then
        return refuse(client, failure("ERR unknown command '" .. words[1]:sub(1, 128):gsub("%c", " ") .. "'"))
    elseif n < known.least or known.most and n > known.most then
        return refuse(client, command.wrong_count(known.name))
    elseif client.subscriptions > 0 and not known.subscribed then
        return refuse(client, failure(NOT_SUBSCRIBED:format(known.name:lower())))
    elseif known.writes and self.log and self.log.failed then
        return refuse(client, LOG_FAILS)
    elseif client.queue and not known.at_once then
        client.queue[#client.queue + 1] = words
        return resp.QUEUED
    elseif known.own then
        return known.run(self, client, words)
    end
    return self:ask(client, known, words)
end

-- --- Connections ----------------------------------------------------------------------------------------

function server:client(stream)
    self.ids = self.ids + 1
    return {
        stream = stream, id = self.ids, name = "", index = 0, db = self.stores[0], subscriptions = 0,
        out = {}, n = 0, -- replies that are not sent yet
    }
end

-- What was answered so far goes to the client, when the log has what it asked for.
function server:send_replies(client)
    local batch = client.batch
    if batch then
        client.batch = nil
        neap.shield(batch):await()
    end
    if client.n == 0 then return true end
    local out = client.out
    client.out, client.n = {}, 0
    return client.stream:write(out)
end

-- Answers all requests that are there; false when the client has to go.
local function answer_ready(self, client, source)
    local size = 0
    local words, problem = source:ready()
    while words and not client.closing do
        local reply = self:execute(client, words)
        client.n = client.n + 1
        client.out[client.n] = reply
        size = size + #reply
        if size > FLUSH_AT then
            if not self:send_replies(client) then return false end
            size = 0
        end
        words, problem = source:ready()
    end
    if problem then
        client.n = client.n + 1
        client.out[client.n] = failure("ERR Protocol error: " .. problem)
    end
    return self:send_replies(client) and not problem
end

local function converse(self, client)
    local source = resp.source(client.stream)
    while not client.closing do
        client.idle = true
        local more = source:fill()
        client.idle = false
        if not more or not answer_ready(self, client, source) then return end
    end
end

-- The life of a connection.
function server:handle(stream)
    local client = self:client(stream)
    self.clients[client] = true
    local ok, err = neap.pcall(converse, self, client)
    self.clients[client] = nil
    self:leave_all(client)
    self:unwatch(client)
    if not ok then error(err, 0) end
end

-- Clients that wait for something go now, the others when they have been answered.
function server:hang_up()
    for client in pairs(self.clients) do
        client.closing = true
        if client.idle then neap.spawn(client.stream.close, client.stream) end
    end
end

return server
