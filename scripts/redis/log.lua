-- The append-only file: every request that changed something, in order. One task writes; what comes meanwhile
-- goes with its next write. A file that was cut short by a crash is read up to its last whole request or
-- transaction.
local neap = require "neap"
local resp = require "redis.resp"

local concat = table.concat

local RETRY = 1 -- seconds after a failure to write
local SYNC_EVERY = 1 -- second

local log = {}
log.__index = log

-- --- Reading --------------------------------------------------------------------------------------------

local function source_of(file)
    local function read(_, n) return file:read(n) end
    return resp.source { read_some = read, read_exactly = read }
end

-- Calls apply(words) for each request; those between MULTI and EXEC wait for the EXEC. Answers how many there
-- were and up to where the file is whole, or nil and the problem.
local function apply_all(source, apply)
    local n, whole, group = 0, 0, nil
    local function apply_group()
        for i = 1, #group do apply(group[i]) end
        n, group = n + #group, nil
    end
    repeat
        local words, problem = source:ready()
        while words do
            if words[1] == "MULTI" then
                group = {}
            elseif words[1] == "EXEC" and group then
                apply_group()
            elseif group then
                group[#group + 1] = words
            else
                apply(words)
                n = n + 1
            end
            if not group then whole = source.done end
            words, problem = source:ready()
        end
        if problem then return nil, problem end
        local more, err = source:fill()
        if err then return nil, err end
    until not more
    return n, whole
end

local function cut(path, size)
    local file, err = neap.fs.open(path, "r+")
    if not file then return nil, err end
    local ok
    ok, err = file:truncate(size)
    file:close()
    return ok, err
end

-- Calls apply(words) for each request in the file. Answers how many, and how many bytes at the end were no
-- request and have been cut off; nil and the error if that did not work.
function log.replay(path, apply)
    local file, err = neap.fs.open(path, "r")
    if not file then
        if err.code == "ENOENT" then return 0, 0 end
        return nil, err
    end
    local source = source_of(file)
    local n, whole = apply_all(source, apply)
    file:close()
    if not n then return nil, whole end
    local left = source.received - whole
    if left > 0 then
        local ok
        ok, err = cut(path, whole)
        if not ok then return nil, err end
    end
    return n, left
end

-- --- Writing --------------------------------------------------------------------------------------------

local function open_end(path)
    local file, err = neap.fs.open(path, "a")
    if not file then return nil, err end
    local found, failed = file:stat()
    if not found then return nil, failed end
    return file, found.size
end

-- `sync` is "always" (nobody is answered before the disk has it), "everysec" or "no".
function log.open(path, sync)
    local file, size = open_end(path)
    if not file then return nil, size end
    return setmetatable({
        path = path, sync = sync, file = file, size = size, pending = {}, news = neap.event(), lock = neap.lock(),
    }, log)
end

-- The request will be written. Answers, if somebody has to wait for that, a future of it.
function log:append(words)
    self.pending[#self.pending + 1] = resp.request(words)
    self.news:set()
    if self.sync == "always" then
        self.batch = self.batch or neap.future()
        return self.batch
    end
end

local function take_pending(self)
    local texts, batch = self.pending, self.batch
    self.pending, self.batch = {}, nil
    return texts, batch
end

local function write_once(self, data)
    if self.failed then -- perhaps a part of it is there
        local cut_off, err = self.file:truncate(self.size)
        if not cut_off then return nil, err end
    end
    local ok, err = self.file:write(data)
    if ok and self.sync == "always" then ok, err = self.file:sync(true) end
    if ok then self.size = self.size + #data end
    return ok, err
end

local function failing(self, err)
    if not self.failed then neap.stderr:write("cannot write ", self.path, ": ", tostring(err), "\n") end
    self.failed = err
end

-- Calls try(self, data) until it works or the log is closed; answers what it answered. A failure, as of a full
-- disk, is told once.
local function persist(self, try, data)
    local value, err = try(self, data)
    while not value do
        failing(self, err)
        if self.closing then return nil end
        neap.move_on(RETRY, self.ended.wait, self.ended)
        value, err = try(self, data)
    end
    self.failed = nil
    return value, err
end

local function write_texts(self, texts, batch)
    if not texts[1] or not persist(self, write_once, concat(texts)) then return end
    self.unsynced = true
    if batch then batch:set_result(true) end
end

local function write_pending(self)
    write_texts(self, take_pending(self))
end

local function sync_file(self)
    local ok, err = self.file:sync(true)
    if ok then
        self.unsynced = false
    else
        failing(self, err)
    end
    self.synced = neap.loop():time()
end

-- Writes until the log is closed: the body of a task.
function log:run()
    self.synced, self.ended = neap.loop():time(), neap.event()
    repeat
        if self.unsynced and self.sync == "everysec" then
            neap.move_on_at(self.synced + SYNC_EVERY, self.news.wait, self.news)
        else
            self.news:wait()
        end
        self.news:clear()
        self.lock:with(write_pending, self)
        if self.sync == "everysec" and self.unsynced and neap.loop():time() >= self.synced + SYNC_EVERY then
            sync_file(self)
        end
    until self.closing
end

-- Replaces the file by one that has the requests which snapshot() answers: all that was done so far.
function log:rewrite(snapshot)
    return self.lock:with(function()
        local data = concat(snapshot())
        local texts, batch = take_pending(self) -- the snapshot has what these did
        local ok, err = neap.fs.replace(self.path, data)
        if not ok then -- the old file goes on
            write_texts(self, texts, batch)
            return nil, err
        end
        local file, size = persist(self, function() return open_end(self.path) end)
        if not file then return nil, self.failed end
        self.file:close()
        self.file, self.size = file, size
        if batch then batch:set_result(true) end
        return true
    end)
end

-- What is left goes to the disk; `writer` is the task of run().
function log:close(writer)
    self.closing = true
    self.ended:set()
    self.news:set()
    neap.wait { writer }
    self.lock:with(write_pending, self) -- what came while the writer had its last look behind it
    if not self.failed then sync_file(self) end
    self.file:close()
    return not self.failed
end

return log
