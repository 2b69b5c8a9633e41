-- The Redis protocol: requests out of the bytes of a client or of the log, replies as strings.
local resp = {}

local find, sub, byte, concat = string.find, string.sub, string.byte, table.concat

local WORDS_MAX = 1024 * 1024
local WORD_MAX = 512 * 1024 * 1024
local LINE_MAX = 64 * 1024
local JOIN_LEAST = 16 * 1024 -- a word of which more is missing is read by itself

-- --- Requests -------------------------------------------------------------------------------------------

-- A source reads from anything with read_some(n) and read_exactly(n); `taken` counts the bytes of whole requests.
local Source = {}
Source.__index = Source

function resp.source(stream)
    return setmetatable({ stream = stream, buffer = "", at = 1, taken = 0 }, Source)
end

-- More bytes behind those that were not used yet; false at the end.
local function more(source, missing)
    local rest = sub(source.buffer, source.at)
    local data
    if missing >= JOIN_LEAST then
        data = source.stream:read_exactly(missing)
    else
        data = source.stream:read_some(65536)
    end
    source.buffer, source.at = data and rest .. data or rest, 1
    return data ~= nil
end

-- The words of an inline request: as a person types them, with quotes.
local function split(line)
    local words, at = {}, 1
    while true do
        at = line:match("^%s*()", at)
        if at > #line then return words end
        local quote = line:match("^['\"]", at)
        local word, after
        if quote then
            word, after = line:match("^" .. quote .. "([^" .. quote .. "]*)" .. quote .. "()", at)
            if not word then return nil, "unbalanced quotes in request" end
        else
            word, after = line:match("^(%S+)()", at)
        end
        words[#words + 1] = word
        at = after
    end
end

-- A line from `from` on without its end, and where the next begins; nil if it is not there yet.
local function line_at(buffer, from)
    local last = find(buffer, "\n", from, true)
    if not last then
        if #buffer - from > LINE_MAX then error("too big inline request", 0) end
        return nil
    end
    local ending = byte(buffer, last - 1) == 13 and last > from and last - 2 or last - 1
    return sub(buffer, from, ending), last + 1
end

local function count_at(buffer, from, most, what)
    local line, after = line_at(buffer, from)
    if not line then return nil end
    local n = tonumber(line)
    if not n or n % 1 ~= 0 or n < 0 or n > most then error("invalid " .. what .. " length", 0) end
    return n, after
end

-- The request in the buffer: its words and where it ends; or nil and how many bytes are missing at least.
local function parse(buffer, at)
    if byte(buffer, at) ~= 42 then -- "*"
        local line, after = line_at(buffer, at)
        if not line then return nil, 1 end
        local words, err = split(line)
        if not words then error(err, 0) end
        return words, after
    end
    local count, from = count_at(buffer, at + 1, WORDS_MAX, "multibulk")
    if not count then return nil, 1 end
    local words, size = {}, #buffer
    for i = 1, count do
        if from > size then return nil, 1 end
        if byte(buffer, from) ~= 36 then -- "$"
            error(("expected '$', got '%s'"):format(sub(buffer, from, from)), 0)
        end
        local length, start = count_at(buffer, from + 1, WORD_MAX, "bulk")
        if not length then return nil, 1 end
        from = start + length + 2
        if from - 1 > size then return nil, from - 1 - size end
        words[i] = sub(buffer, start, start + length - 1)
    end
    return words, from
end

-- The next request that is there already, or nil.
function Source:ready()
    while self.at <= #self.buffer do
        local words, after = parse(self.buffer, self.at)
        if not words then
            self.missing = after
            return nil
        end
        self.taken = self.taken + after - self.at
        self.at = after
        if words[1] then return words end
    end
    self.missing = 1
    return nil
end

-- Waits for more; false at the end.
function Source:fill()
    return more(self, self.missing or 1)
end

-- Bytes that belong to no whole request.
function Source:left()
    return #self.buffer - self.at + 1
end

-- --- Replies --------------------------------------------------------------------------------------------

resp.OK = "+OK\r\n"
resp.NONE = "$-1\r\n"
resp.NO_LIST = "*-1\r\n"
resp.QUEUED = "+QUEUED\r\n"
resp.ZERO = ":0\r\n"
resp.ONE = ":1\r\n"

function resp.bulk(text)
    return text and "$" .. #text .. "\r\n" .. text .. "\r\n" or resp.NONE
end

function resp.integer(n)
    return (":%d\r\n"):format(n)
end

function resp.failure(text)
    return "-" .. text .. "\r\n"
end

-- A list of values: strings, or false for none.
function resp.list(values, n)
    local out = { "*" .. (n or #values) .. "\r\n" }
    for i = 1, n or #values do
        local text = values[i]
        out[i + 1] = text and "$" .. #text .. "\r\n" .. text .. "\r\n" or "$-1\r\n"
    end
    return concat(out)
end

-- A list of replies.
function resp.replies(replies)
    return "*" .. #replies .. "\r\n" .. concat(replies)
end

-- A request, as clients send it and the log keeps it.
resp.request = resp.list

return resp
