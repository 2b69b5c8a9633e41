-- BLPOP and BRPOP: the client waits until a list has an element, or some time.
local neap = require "neap"
local command = require "redis.command"
local resp = require "redis.resp"
local store = require "redis.store"

local bulk, failure, list = resp.bulk, resp.failure, resp.list

local PEEK_MOST = 32 * 1024 -- of what a client sends meanwhile; behind that its end is not seen

-- Waits until the client hangs up. What it sends stays for later.
local function gone(stream)
    local have, now
    repeat
        have = #(stream:peek(PEEK_MOST) or "")
        if have == PEEK_MOST then neap.future():await() end
        now = stream:fill(have + 1)
    until not now or now <= have
end

-- An element that is there: the reply, which may say that a key is no list.
local function take(self, client, words, pop)
    for i = 2, #words - 1 do
        local value = client.db:get(words[i])
        if value ~= nil and store.kind_of(value) ~= "list" then
            return command.WRONG_KIND
        elseif value then
            return resp.replies { bulk(words[i]), self:ask(client, pop, { pop.name, words[i] }) }
        end
    end
end

local function enter(db, words, waiter)
    for i = 2, #words - 1 do
        local queue = db.waiting[words[i]] or {}
        db.waiting[words[i]] = queue
        queue[#queue + 1] = waiter
    end
end

local function leave(db, words, waiter)
    for i = 2, #words - 1 do
        local queue = db.waiting[words[i]]
        for at = #(queue or {}), 1, -1 do
            if queue[at] == waiter then table.remove(queue, at) end
        end
        if queue and not queue[1] then db.waiting[words[i]] = nil end
    end
end

local function await(client, waiter, seconds)
    local function first()
        return (neap.select { waiter.event, function() gone(client.stream) end })
    end
    if seconds == 0 then return first() end
    return neap.move_on(seconds, first)
end

local function wait_for_element(self, client, words, side)
    local seconds = tonumber(words[#words])
    if not seconds or seconds < 0 or seconds >= math.huge then
        return failure "ERR timeout is not a float or out of range"
    end
    local reply = take(self, client, words, command.find(side.name))
    if reply then return reply end
    if self.executing then return resp.NO_LIST end
    local db = client.db
    local waiter = { event = neap.event(), client = client, name = side.name, pop = side.pop }
    enter(db, words, waiter)
    local ok, which = neap.pcall(function()
        self:send_replies(client) -- to the requests before this one
        client.idle = true
        return await(client, waiter, seconds)
    end)
    client.idle = false
    leave(db, words, waiter)
    if not ok then error(which, 0) end
    if waiter.found then return list(waiter.found) end
    if which == 2 then client.closing = true end
    return resp.NO_LIST
end

for name, side in pairs {
    BLPOP = { name = "LPOP", pop = function(value) return value:pop_left() end },
    BRPOP = { name = "RPOP", pop = function(value) return value:pop_right() end },
} do
    command.define_own(name, 3, false, function(self, client, words)
        return wait_for_element(self, client, words, side)
    end, { writes = true })
end
