-- Channels: whoever has subscribed to one, or to a pattern of names, gets what is published there.
local command = require "redis.command"
local glob = require "redis.glob"
local resp = require "redis.resp"
local server = require "redis.server"

local define_own = command.define_own
local bulk, integer, failure, list = resp.bulk, resp.integer, resp.failure, resp.list

local BEHIND_MOST = 32 * 1024 * 1024 -- unsent bytes of a subscriber that does not read

-- To a client that may be in the middle of something else; one that does not read is dropped.
local function send(client, text)
    if client.n > 0 then -- behind the replies that wait for the log
        client.n = client.n + 1
        client.out[client.n] = text
        return
    end
    client.stream:buffer(text)
    if client.stream:unsent() > BEHIND_MOST then client.stream:abort() end
end

-- `sort` is "channels" or "patterns".
local function join(self, client, sort, name)
    client[sort] = client[sort] or {}
    if not client[sort][name] then
        client[sort][name] = true
        client.subscriptions = client.subscriptions + 1
        self[sort][name] = self[sort][name] or { matches = glob(name), clients = {} }
        self[sort][name].clients[client] = true
    end
end

local function leave(self, client, sort, name)
    if not client[sort] or not client[sort][name] then return end
    client[sort][name] = nil
    client.subscriptions = client.subscriptions - 1
    local members = self[sort][name].clients
    members[client] = nil
    if next(members) == nil then self[sort][name] = nil end
end

function server:leave_all(client)
    for _, sort in ipairs { "channels", "patterns" } do
        for name in pairs(client[sort] or {}) do leave(self, client, sort, name) end
    end
end

local function notice(what, name, client)
    return resp.replies { bulk(what), bulk(name), integer(client.subscriptions) }
end

for name, sort in pairs { SUBSCRIBE = "channels", PSUBSCRIBE = "patterns" } do
    define_own(name, 2, false, function(self, client, words)
        local out = {}
        for i = 2, #words do
            join(self, client, sort, words[i])
            out[#out + 1] = notice(name:lower(), words[i], client)
        end
        return table.concat(out)
    end, { subscribed = true })
end

for name, sort in pairs { UNSUBSCRIBE = "channels", PUNSUBSCRIBE = "patterns" } do
    define_own(name, 1, false, function(self, client, words)
        local names, out = { (table.unpack or unpack)(words, 2) }, {}
        if #names == 0 then
            for joined in pairs(client[sort] or {}) do names[#names + 1] = joined end
        end
        for _, joined in ipairs(names) do
            leave(self, client, sort, joined)
            out[#out + 1] = notice(name:lower(), joined, client)
        end
        return out[1] and table.concat(out) or notice(name:lower(), nil, client)
    end, { subscribed = true })
end

define_own("PUBLISH", 3, 3, function(self, _, words)
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

local function names_of(channels, pattern)
    local matches, names = glob(pattern or "*"), {}
    for name in pairs(channels) do
        if matches(name) then names[#names + 1] = name end
    end
    return names
end

local function size_of(set)
    local n = 0
    for _ in pairs(set or {}) do n = n + 1 end
    return n
end

define_own("PUBSUB", 2, false, function(self, _, words)
    local what = words[2]:upper()
    if what == "CHANNELS" then return list(names_of(self.channels, words[3])) end
    if what == "NUMPAT" then return integer(size_of(self.patterns)) end
    if what == "NUMSUB" then
        local out = {}
        for i = 3, #words do
            local channel = self.channels[words[i]]
            out[#out + 1] = bulk(words[i])
            out[#out + 1] = integer(size_of(channel and channel.clients))
        end
        return resp.replies(out)
    end
    return failure("ERR unknown subcommand '" .. words[2] .. "'")
end)
