-- The Redis protocol: requests out of the bytes of a client or of the log, replies as strings.
local resp = {}

local find, sub, byte, concat = string.find, string.sub, string.byte, table.concat

local WORDS_MAX = 1024 * 1024
local WORD_MAX = 512 * 1024 * 1024
local LINE_MAX = 64 * 1024
local CHUNK = 64 * 1024
local JOIN_LEAST = 16 * 1024 -- a word of which more is missing is read by itself

local STAR, DOLLAR, CR, LF, ZERO, NINE = 42, 36, 13, 10, 48, 57

-- --- Requests -------------------------------------------------------------------------------------------

-- A source reads from anything with read_some(n) and read_exactly(n). Of a request that has not come as a
-- whole it keeps the words that have: `words` of `count`, the last of them at `got`.
local Source = {}
Source.__index = Source

function resp.source(stream)
    return setmetatable({
        stream = stream, buffer = "", at = 1, -- the bytes that were not used yet
        missing = 1, -- so many more are needed at least
        received = 0, done = 0, -- bytes that have come, and of them those of whole requests
    }, Source)
end

-- A line from `at` on without its end, and where the next begins; nil if it is not there yet, with a problem
-- if it never will.
local function line_at(buffer, at, what)
    local last = find(buffer, "\n", at, true)
    if not last then
        return nil, #buffer - at > LINE_MAX and "too big " .. what or nil
    end
    local ending = last > at and byte(buffer, last - 1) == CR and last - 2 or last - 1
    return sub(buffer, at, ending), last + 1
end

-- The number behind the mark at `at`, and where the next line begins. Nil if that is not there yet, with a
-- problem if it is no number. Nearly all numbers have one digit or two.
local function number_at(buffer, at, most, what)
    local _, a, b, c, d = byte(buffer, at, at + 4)
    if a and a >= ZERO and a <= NINE then
        if c == LF and b == CR then return a - ZERO, at + 4 end
        if d == LF and c == CR and b >= ZERO and b <= NINE then return (a - ZERO) * 10 + b - ZERO, at + 5 end
    end
    local line, after = line_at(buffer, at + 1, what .. " count string")
    if not line then return nil, after end
    local n = find(line, "^%-?%d+$") and tonumber(line)
    if not n or n > most then return nil, "invalid " .. what .. " length" end
    return n, after
end

local escapes = { n = "\n", r = "\r", t = "\t", a = "\a", b = "\b" }

local function unescaped(text)
    text = text:gsub("\\x(%x%x)", function(digits) return "\\" .. string.char(tonumber(digits, 16)) end)
    return (text:gsub("\\(.)", function(letter) return escapes[letter] or letter end))
end

-- The end of the quoted word that begins at `at`.
local function closing(line, at, quote)
    local i = at + 1
    while i <= #line do
        local c = sub(line, i, i)
        if c == quote then return i end
        i = i + (c == "\\" and 2 or 1)
    end
end

-- The words of an inline request: as a person types them, with quotes.
local function split(line)
    local words, n = {}, 0
    local at = find(line, "%S")
    while at do
        local quote = sub(line, at, at)
        local last
        n = n + 1
        if quote == '"' or quote == "'" then
            last = closing(line, at, quote)
            if not last or find(line, "^%S", last + 1) then return nil, "unbalanced quotes in request" end
            local inner = sub(line, at + 1, last - 1)
            words[n] = quote == '"' and unescaped(inner) or (inner:gsub("\\'", "'"))
        else
            last = find(line, "%s", at) or #line + 1
            words[n] = sub(line, at, last - 1)
        end
        at = find(line, "%S", last + 1)
    end
    return words
end

local function take(source, words, at)
    source.words, source.at, source.missing = nil, at, 1
    source.done = source.received - (#source.buffer - at + 1)
    return words
end

local function wait_for(source, at, missing)
    source.at, source.missing = at, missing
    return nil
end

-- The words of a request whose count has come, from `at` on.
local function read_words(source, words, at)
    local buffer, size = source.buffer, #source.buffer
    for i = source.got + 1, source.count do
        if at > size then
            source.got = i - 1
            return wait_for(source, at, 1)
        elseif byte(buffer, at) ~= DOLLAR then
            return nil, ("expected '$', got '%s'"):format((sub(buffer, at, at):gsub("%c", " ")))
        end
        local length, start = number_at(buffer, at, WORD_MAX, "bulk")
        if not length then
            if start then return nil, start end
            source.got = i - 1
            return wait_for(source, at, 1)
        elseif length < 0 then
            return nil, "invalid bulk length"
        end
        local after = start + length + 2
        if after - 1 > size then
            source.got = i - 1
            return wait_for(source, at, after - 1 - size)
        end
        words[i] = sub(buffer, start, start + length - 1)
        at = after
    end
    return take(source, words, at)
end

local function read_inline(source, at)
    local line, after = line_at(source.buffer, at, "inline request")
    if not line then
        if after then return nil, after end
        return wait_for(source, at, 1)
    end
    local words, problem = split(line)
    if not words then return nil, problem end
    return take(source, words, after)
end

local function read_request(source)
    local buffer, at = source.buffer, source.at
    if source.words then return read_words(source, source.words, at) end
    if byte(buffer, at) ~= STAR then return read_inline(source, at) end
    local count, after = number_at(buffer, at, WORDS_MAX, "multibulk")
    if not count then
        if after then return nil, after end
        return wait_for(source, at, 1)
    end
    source.words, source.count, source.got = {}, count, 0
    return read_words(source, source.words, after)
end

-- The next request that is there already: its words. Nil if more bytes are needed, with a problem if they
-- would not help.
function Source:ready()
    while self.at <= #self.buffer do
        local words, problem = read_request(self)
        if not words then return nil, problem end
        if words[1] then return words end
    end
    return nil
end

-- Waits for more bytes; false at the end.
function Source:fill()
    local data, err
    if self.missing >= JOIN_LEAST then
        data, err = self.stream:read_exactly(self.missing)
    else
        data, err = self.stream:read_some(CHUNK)
    end
    if not data then return false, err end
    self.buffer = self.at > #self.buffer and data or sub(self.buffer, self.at) .. data
    self.at, self.received = 1, self.received + #data
    return true
end

-- --- Replies --------------------------------------------------------------------------------------------

resp.OK = "+OK\r\n"
resp.NONE = "$-1\r\n"
resp.NO_LIST = "*-1\r\n"
resp.QUEUED = "+QUEUED\r\n"

-- Most numbers are small, and making text of one costs more than the rest of a reply.
local integers, heads = {}, {}
for n = 0, 1023 do
    integers[n] = (":%d\r\n"):format(n)
    heads[n] = ("$%d\r\n"):format(n)
end

resp.ZERO, resp.ONE = integers[0], integers[1]

function resp.integer(n)
    return integers[n] or (":%d\r\n"):format(n)
end

local function bulk(text)
    return text and (heads[#text] or "$" .. #text .. "\r\n") .. text .. "\r\n" or "$-1\r\n"
end

resp.bulk = bulk

function resp.failure(text)
    return "-" .. text .. "\r\n"
end

-- A list of values: strings, or false for none.
function resp.list(values, n)
    n = n or #values
    local out = { "*" .. n .. "\r\n" }
    for i = 1, n do out[i + 1] = bulk(values[i]) end
    return concat(out)
end

-- A list of replies.
function resp.replies(replies)
    return "*" .. #replies .. "\r\n" .. concat(replies)
end

-- A request, as clients send it and the log keeps it.
resp.request = resp.list

return resp
