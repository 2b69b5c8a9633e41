-- The append-only file: every request that changed something, in order. One task writes; what comes meanwhile goes with its next
-- write. A file that was cut short by a crash is read up to its last whole request.
local neap = require "neap"
local resp = require "redis.resp"

local concat = table.concat

local RETRY = 1 -- seconds after a failure to write

local log = {}
log.__index = log

-- `sync` is "always" (nobody is answered before the disk has it), "everysec" or "no".
function log.open(path, sync)
    local file, err = neap.fs.open(path, "a")
    if not file then return nil, err end
    return setmetatable({
        path = path, sync = sync, file = file, pending = {}, count = 0, news = neap.event(), lock = neap.lock(),
    }, log)
end

-- --- Reading --------------------------------------------------------------------------------------------

local function read_from(file)
    local function read(_, n) return file:read(n) end
    return resp.source { read_some = read, read_exactly = read }
end

-- Calls apply(words) for each request in the file. Answers how many, and how many bytes at the end were no request; nil and the
-- error if the file cannot be read.
function log.replay(path, apply)
    local file, err = neap.fs.open(path, "r")
    if not file then
        if err.code == "ENOENT" then return 0, 0 end
        return nil, err
    end
    local source, n = read_from(file), 0
    repeat
        local words = source:ready()
        while words do
            apply(words)
            n = n + 1
            words = source:ready()
        end
    until not source:fill()
    file:close()
    local left = source:left()
    if left > 0 then
        file, err = neap.fs.open(path, "r+")
        if not file then return nil, err end
        file:truncate(source.taken)
        file:close()
    end
    return n, left
end

-- --- Writing --------------------------------------------------------------------------------------------

-- The request will be written.
function log:append(words)
    self.count = self.count + 1
    self.pending[self.count] = resp.request(words)
    self.news:set()
end

-- Waits, if that is wanted, until all that was appended is on the disk.
function log:settle()
    if self.sync ~= "always" or self.count == 0 then return end
    self.written = self.written or neap.future()
    neap.shield(self.written):await()
end

local function write_all(self, texts)
    local ok, err = self.file:write(concat(texts))
    if ok and self.sync == "always" then ok, err = self.file:sync() end
    return ok, err
end

-- A failure, as of a full disk, is told once; what could not be written is kept, and tried again.
local function write_pending(self)
    local texts, count, waiting = self.pending, self.count, self.written
    self.pending, self.count, self.written = {}, 0, nil
    if count == 0 then return end
    local from = self.file:stat().size
    local ok, err = write_all(self, texts)
    while not ok do
        if not self.failed then
            neap.stderr:write("cannot write ", self.path, ": ", tostring(err), "\n")
        end
        self.failed = err
        neap.sleep(RETRY)
        self.file:truncate(from) -- what was half written
        ok, err = write_all(self, texts)
    end
    self.failed = nil
    if waiting then waiting:set_result(true) end
end

-- Writes for ever.
function log:run()
    local synced = neap.loop():time()
    while true do
        self.news:wait()
        self.news:clear()
        self.lock:with(write_pending, self)
        if self.sync == "everysec" and neap.loop():time() - synced >= 1 then
            self.file:sync()
            synced = neap.loop():time()
        end
    end
end

-- Replaces the file by one that has these requests, which are all that was done so far.
function log:rewrite(requests)
    local texts, count, waiting = self.pending, self.count, self.written
    self.pending, self.count, self.written = {}, 0, nil
    return self.lock:with(function()
        local ok, err = neap.fs.replace(self.path, concat(requests))
        local file
        if ok then file, err = neap.fs.open(self.path, "a") end
        if not file then -- the old file goes on, with what the new one would have had
            for i = 1, self.count do texts[count + i] = self.pending[i] end
            self.pending, self.count, self.written = texts, count + self.count, self.written or waiting
            self.news:set()
            return nil, err
        end
        self.file:close()
        self.file = file
        if waiting then waiting:set_result(true) end
        return true
    end)
end

-- What is left goes to the disk.
function log:close()
    self.lock:with(write_pending, self)
    self.file:sync()
    self.file:close()
end

return log
