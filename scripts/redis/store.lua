-- The data: keys with values and deadlines. A string is a Lua string; lists and hashes are tables with a kind.
local floor = math.floor

local store = {}
store.__index = store

-- `clock` answers the time of day in milliseconds; `expired` is called with each key whose time was over.
function store.new(clock, expired)
    return setmetatable({
        values = {}, deadlines = {}, due = {}, size = 0, changes = 0, clock = clock, expired = expired,
        watched = {}, -- sets of clients, by key
        waiting = {}, -- lists of who waits for an element, by key
    }, store)
end

-- --- Keys -----------------------------------------------------------------------------------------------

-- The key has changed: whoever watches it learns that, and `changes` tells that something did.
function store:touch(key)
    self.changes = self.changes + 1
    local watchers = self.watched[key]
    if watchers then
        for client in pairs(watchers) do client.dirty = true end
    end
end

function store:remove(key)
    if self.values[key] == nil then return false end
    self.values[key] = nil
    if self.deadlines[key] then self:set_deadline(key, nil) end
    self.size = self.size - 1
    self:touch(key)
    return true
end

function store:get(key)
    local deadline = self.deadlines[key]
    if deadline and deadline <= self.clock() then
        self:remove(key)
        self.expired(key)
    end
    return self.values[key]
end

-- Sets the value; a deadline that there was stays.
function store:put(key, value)
    if self.values[key] == nil then self.size = self.size + 1 end
    self.values[key] = value
    self:touch(key)
end

-- Sets the value, for ever.
function store:set(key, value)
    self:put(key, value)
    if self.deadlines[key] then self:set_deadline(key, nil) end
end

function store:clear()
    for key in pairs(self.watched) do self:touch(key) end
    self.changes = self.changes + 1
    self.values, self.deadlines, self.due, self.size = {}, {}, {}, 0
end

-- The key goes at that time, in milliseconds; nil: never. A key with a deadline is also in the set of the
-- second in which that is.
function store:set_deadline(key, deadline)
    local before = self.deadlines[key]
    local due = before and self.due[floor(before / 1000) + 1]
    if due then due[key] = nil end
    self.deadlines[key] = deadline
    if not deadline then return end
    local second = floor(deadline / 1000) + 1
    if not self.due[second] then
        self.due[second] = {}
        if not self.swept or second <= self.swept then self.swept = second - 1 end
    end
    self.due[second][key] = true
end

-- Removes the keys whose time is over and that nobody has asked for since.
function store:sweep()
    local current = floor(self.clock() / 1000)
    if not self.swept then return end
    for second = self.swept + 1, current do
        for key in pairs(self.due[second] or {}) do self:get(key) end
        self.due[second] = nil
    end
    if current > self.swept then self.swept = current end
end

-- All live keys that match.
function store:keys(matches)
    local found = {}
    for key in pairs(self.values) do found[#found + 1] = key end
    local live = {}
    for _, key in ipairs(found) do
        if matches(key) and self:get(key) ~= nil then live[#live + 1] = key end
    end
    return live
end

-- --- Kinds ----------------------------------------------------------------------------------------------

function store.kind_of(value)
    if value == nil then return "none" end
    return type(value) == "string" and "string" or value.kind
end

-- --- Lists: a queue with two ends -----------------------------------------------------------------------

local List = {}
List.__index = List

function store.list()
    return setmetatable({ kind = "list", first = 1, last = 0 }, List)
end

function List:len()
    return self.last - self.first + 1
end

function List:push_left(text)
    self.first = self.first - 1
    self[self.first] = text
end

function List:push_right(text)
    self.last = self.last + 1
    self[self.last] = text
end

function List:pop_left()
    local text = self[self.first]
    self[self.first] = nil
    self.first = self.first + 1
    return text
end

function List:pop_right()
    local text = self[self.last]
    self[self.last] = nil
    self.last = self.last - 1
    return text
end

-- Where the index, counted from 0 or back from -1, stands; it may be outside.
function List:at(index)
    return index >= 0 and self.first + index or self.last + 1 + index
end

-- The part of the list between two indices, both inside: from, to.
function List:range(start, stop)
    local from, to = self:at(start), self:at(stop)
    return from < self.first and self.first or from, to > self.last and self.last or to
end

-- Makes it consist of these.
function List:refill(texts)
    for i = self.first, self.last do self[i] = nil end
    self.first, self.last = 1, #texts
    for i = 1, #texts do self[i] = texts[i] end
end

-- --- Hashes ---------------------------------------------------------------------------------------------

local Hash = {}
Hash.__index = Hash

function store.hash()
    return setmetatable({ kind = "hash", fields = {}, n = 0 }, Hash)
end

-- Whether the field is new.
function Hash:set(field, text)
    local is_new = self.fields[field] == nil
    if is_new then self.n = self.n + 1 end
    self.fields[field] = text
    return is_new
end

function Hash:remove(field)
    if self.fields[field] == nil then return false end
    self.fields[field] = nil
    self.n = self.n - 1
    return true
end

return store
