-- MULTI, EXEC and WATCH: requests that are carried out together, if what was watched has not changed.
local command = require "redis.command"
local resp = require "redis.resp"
local server = require "redis.server"

local define_own = command.define_own
local failure, OK = resp.failure, resp.OK

-- Forgets what the client watches.
function server.unwatch(_, client)
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

define_own("MULTI", 1, 1, function(_, client)
    if client.queue then return failure "ERR MULTI calls can not be nested" end
    client.queue, client.broken = {}, false
    return OK
end, { at_once = true })

define_own("DISCARD", 1, 1, function(self, client)
    if not client.queue then return failure "ERR DISCARD without MULTI" end
    client.queue = nil
    self:unwatch(client)
    return OK
end, { at_once = true })

define_own("EXEC", 1, 1, function(self, client)
    local queue = client.queue
    if not queue then return failure "ERR EXEC without MULTI" end
    local broken, dirty = client.broken, client.dirty
    client.queue = nil
    self:unwatch(client)
    if broken then return failure "EXECABORT Transaction discarded because of previous errors." end
    if dirty then return resp.NO_LIST end
    local replies = {}
    self:begin()
    for i = 1, #queue do replies[i] = self:execute(client, queue[i]) end
    self:finish(client)
    return resp.replies(replies)
end, { at_once = true })

define_own("WATCH", 2, false, function(_, client, words)
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
end, { at_once = true })

define_own("UNWATCH", 1, 1, function(self, client)
    self:unwatch(client)
    return OK
end)
