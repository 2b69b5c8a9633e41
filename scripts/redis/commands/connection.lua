-- Commands about the connection and the server as a whole.
local neap = require "neap"
local command = require "redis.command"
local resp = require "redis.resp"
local server = require "redis.server"

local define_own = command.define_own
local bulk, integer, failure, list = resp.bulk, resp.integer, resp.failure, resp.list
local OK = resp.OK

define_own("PING", 1, 2, function(_, client, words)
    if client.subscriptions > 0 then return list { "pong", words[2] or "" } end
    return words[2] and bulk(words[2]) or "+PONG\r\n"
end, { subscribed = true })

define_own("ECHO", 2, 2, function(_, _, words) return bulk(words[2]) end)

define_own("QUIT", 1, false, function(_, client)
    client.closing = true
    return OK
end, { subscribed = true })

define_own("SELECT", 2, 2, function(self, client, words)
    local index = command.to_integer(words[2])
    if not index or not self.stores[index] then return failure "ERR DB index is out of range" end
    client.index, client.db = index, self.stores[index]
    return OK
end)

define_own("FLUSHALL", 1, 2, function(self, client)
    for i = 0, server.DATABASES - 1 do self.stores[i]:clear() end
    client.batch = self:log_request(client.index, { "FLUSHALL" })
    return OK
end, { writes = true })

local function client_list(self)
    local lines = {}
    for client in pairs(self.clients) do
        lines[#lines + 1] = ("id=%d addr=%s name=%s db=%d sub=%d\n"):format(
            client.id, tostring((client.stream:peer())), client.name, client.index, client.subscriptions)
    end
    return table.concat(lines)
end

define_own("CLIENT", 2, false, function(self, client, words)
    local what = words[2]:upper()
    if what == "ID" then return integer(client.id) end
    if what == "GETNAME" then return bulk(client.name) end
    if what == "SETINFO" then return OK end
    if what == "LIST" then return bulk(client_list(self)) end
    if what == "SETNAME" and words[3] then
        client.name = words[3]
        return OK
    end
    return failure("ERR unknown subcommand '" .. words[2] .. "'")
end)

define_own("HELLO", 1, false, function(_, client, words)
    if words[2] and words[2] ~= "2" then return failure "NOPROTO sorry, this protocol version is not supported" end
    return resp.replies { bulk "server", bulk "neap", bulk "proto", integer(2), bulk "id", integer(client.id) }
end)

define_own("COMMAND", 1, false, function(_, _, words)
    if words[2] and words[2]:upper() == "COUNT" then return integer(command.count()) end
    return list {}
end)

define_own("CONFIG", 2, false, function(self, _, words)
    if words[2]:upper() ~= "GET" then return OK end
    local known = {
        save = "", appendonly = self.log and "yes" or "no", appendfsync = self.log and self.log.sync or "no",
        databases = tostring(server.DATABASES),
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

define_own("TIME", 1, 1, function(self)
    local now = self.clock()
    return list { ("%d"):format(math.floor(now / 1000)), ("%d"):format(now % 1000 * 1000) }
end)

define_own("INFO", 1, false, function(self)
    local clients, keys = 0, {}
    for _ in pairs(self.clients) do clients = clients + 1 end
    for i = 0, server.DATABASES - 1 do
        local n = self.stores[i].size
        if n > 0 then keys[#keys + 1] = ("db%d:keys=%d,expires=0"):format(i, n) end
    end
    return bulk(table.concat({
        "# Server", "redis_version:7.0.0", "server_name:neap",
        "uptime_in_seconds:" .. math.floor((self.clock() - self.started) / 1000),
        "# Clients", "connected_clients:" .. clients,
        "# Stats", "total_commands_processed:" .. self.done,
        "# Persistence", "aof_enabled:" .. (self.log and 1 or 0),
        "aof_last_write_status:" .. (self.log and self.log.failed and "err" or "ok"),
        "# Keyspace", table.concat(keys, "\r\n"), "",
    }, "\r\n"))
end)

define_own("BGREWRITEAOF", 1, 1, function(self)
    local log = self.log
    if not log then return failure "ERR there is no append-only file" end
    if self.rewriting then return failure "ERR Background append only file rewriting already in progress" end
    self.rewriting = true
    neap.spawn(function()
        local ok, err = log:rewrite(function() return self:snapshot() end)
        self.rewriting = false
        if not ok then neap.stderr:write("cannot rewrite the log: ", tostring(err), "\n") end
    end)
    return "+Background append only file rewriting started\r\n"
end)

define_own("SHUTDOWN", 1, 2, function(_, client)
    client.closing = true
    neap.shutdown "SHUTDOWN"
    return "" -- the end of the connection says it
end)
