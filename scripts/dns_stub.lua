-- A forwarding DNS stub: answers from its cache what it can, and asks one server for the rest.
--   neap scripts/dns_stub.lua --upstream host:port [host:port]
-- Queries travel with an id of its own, over a connected socket, so that only that server is heard. Clients that ask
-- the same at the same time share one query.
local neap = require "neap"

local USAGE = [[
usage: neap scripts/dns_stub.lua --upstream HOST:PORT [options] [HOST:PORT]

Listens on HOST:PORT (default 127.0.0.1:5353) for queries over UDP and forwards them to the upstream server. An address
is numeric, as 192.0.2.1:53. At its end it prints its counters.

  --timeout SECONDS   how long to wait for the upstream server, both tries together (default 4)
  --cache N           answers to keep, at most (default 1000; 0: none)
  --max-ttl SECONDS   how long to keep one, at most (default 3600)
  --queries N         queries that may wait for the upstream server; more are dropped (default 1000)
]]

local TRIES = 2
local BATCH = 64
local OWN_SIZE = 1232 -- bytes of an answer that need no fragments on any network
local FORMERR, SERVFAIL, NOTIMP = 1, 2, 4

local options = { timeout = 4, cache = 1000, ["max-ttl"] = 3600, queries = 1000 }
local counters = {
    queries = 0, cached = 0, shared = 0, forwarded = 0, answered = 0, timeouts = 0, late = 0, malformed = 0,
    dropped = 0,
}

local function now()
    return neap.loop():time()
end

local function fail(text)
    io.stderr:write("dns_stub: ", text, "\n")
    neap.exit(2)
end

local function read_arguments(list)
    local i = 1
    while list[i] do
        local word = list[i]
        local name = word:match "^%-%-(.*)"
        if word == "-h" or name == "help" then
            io.write(USAGE)
            neap.exit(0)
        elseif name == "upstream" then
            i = i + 1
            options.upstream = list[i] or fail "--upstream needs an address"
        elseif name and options[name] then
            i = i + 1
            local value = tonumber(list[i])
            options[name] = value and value >= 0 and value or fail("--" .. name .. " needs a number")
        elseif word:sub(1, 1) == "-" then
            fail("there is no option " .. word .. " (--help tells those there are)")
        else
            options.listen = word
        end
        i = i + 1
    end
    if not options.upstream then
        fail "--upstream HOST:PORT is missing: the server to ask (--help tells more)"
    end
end

-- --- messages ---------------------------------------------------------------------------------

local function u16(s, at)
    local a, b = s:byte(at, at + 1)
    return b and a * 256 + b
end

local function u32(s, at)
    local high, low = u16(s, at), u16(s, at + 2)
    return low and high * 65536 + low
end

local function put16(n)
    return string.char(math.floor(n / 256) % 256, n % 256)
end

local function put32(n)
    return put16(math.floor(n / 65536)) .. put16(n % 65536)
end

-- Whether a flag of a byte is set: 128, 64, ... 1.
local function has(byte, flag)
    return math.floor(byte / flag) % 2 == 1
end

-- The position behind the name at `at`; nil if it is none.
local function skip_name(s, at)
    local start = at
    while at - start < 255 do
        local n = s:byte(at)
        if not n or (n >= 64 and n < 192) then
            return nil
        elseif n == 0 then
            return at + 1
        elseif n >= 192 then
            return s:byte(at + 1) and at + 2
        end
        at = at + 1 + n
    end
end

-- The record at `at` and the position behind it; nil if it is none.
local function read_record(s, at)
    local name_end = skip_name(s, at)
    local length = name_end and u16(s, name_end + 8)
    local finish = length and name_end + 10 + length
    if not finish or finish > #s + 1 then
        return nil
    end
    local record = { kind = u16(s, name_end), class = u16(s, name_end + 2), ttl_at = name_end + 4, finish = finish }
    return record, finish
end

local OPT, SOA = 41, 6

-- What a client asks; nil and the code to answer with, or nil alone if that is not worth an answer.
local function read_query(s)
    if #s < 12 or has(s:byte(3), 128) then
        return nil
    end
    local flags, more = s:byte(3, 4)
    local query = { id = s:sub(1, 2), recursive = has(flags, 1), size = 512, question = "" }
    if math.floor(flags / 8) % 16 ~= 0 then
        return nil, NOTIMP, query
    end
    local finish = skip_name(s, 13)
    if u16(s, 5) ~= 1 or u16(s, 7) ~= 0 or u16(s, 9) ~= 0 or not finish or finish + 3 > #s then
        return nil, FORMERR, query
    end
    query.question = s:sub(13, finish + 3)
    local at = finish + 4
    for _ = 1, u16(s, 11) do
        local record, behind = read_record(s, at)
        if not record then
            return nil, FORMERR, query
        elseif record.kind == OPT then
            query.extended = true
            query.size = math.max(512, record.class)
            query.signed = has(s:byte(record.ttl_at + 2), 128)
        end
        at = behind
    end
    query.checking_disabled = has(more, 16)
    query.key = table.concat({ query.question:sub(1, -5):lower(), query.question:sub(-4), tostring(query.recursive),
        tostring(query.signed), tostring(query.checking_disabled) }, "/")
    return query
end

local function opt_record(signed)
    return "\0" .. put16(OPT) .. put16(OWN_SIZE) .. "\0\0" .. string.char(signed and 128 or 0, 0) .. put16(0)
end

-- The query as it goes to the upstream server: nothing of it but the question is the client's.
local function write_query(id, query)
    return put16(id) .. string.char(query.recursive and 1 or 0, query.checking_disabled and 16 or 0)
        .. put16(1) .. put16(0) .. put16(0) .. put16(1) .. query.question .. opt_record(query.signed)
end

-- Seconds for which an answer without records, or with an error, may be kept (RFC 2308).
local function negative_ttl(s, record)
    return math.min(u32(s, record.ttl_at), u32(s, record.finish - 4))
end

-- What an answer says: its flags and counts, what stands behind the question without OPT, where the times to live are
-- in it, and for how long it may be kept. nil if it is malformed.
local function read_answer(s, query)
    local behind = 13 + #query.question
    if u16(s, 5) ~= 1 or s:sub(13, behind - 5):lower() ~= query.question:sub(1, -5):lower()
        or s:sub(behind - 4, behind - 1) ~= query.question:sub(-4) then
        return nil
    end
    local counts = { u16(s, 7), u16(s, 9), u16(s, 11) }
    local answer = { flags = s:sub(3, 4), ttls = {}, ttl = math.huge }
    local at, body, negative = behind, {}, nil
    for section = 1, 3 do
        for _ = 1, counts[section] do
            local record, finish = read_record(s, at)
            if not record then
                return nil
            end
            if record.kind == OPT then
                counts[section] = counts[section] - 1
            else
                body[#body + 1] = s:sub(at, finish - 1)
                local ttl = u32(s, record.ttl_at)
                answer.ttls[#answer.ttls + 1] = { part = #body, at = record.ttl_at - at + 1, ttl = ttl }
                answer.ttl = math.min(answer.ttl, ttl)
                if section == 2 and record.kind == SOA and finish - at >= 22 then
                    negative = negative_ttl(s, record)
                end
            end
            at = finish
        end
    end
    local rcode, truncated = s:byte(4) % 16, has(s:byte(3), 2)
    if counts[1] == 0 then
        answer.ttl = math.min(answer.ttl, negative or 0)
    end
    if truncated or (rcode ~= 0 and rcode ~= 3) then
        answer.ttl = 0
    end
    answer.counts, answer.body = counts, body
    return answer
end

local function error_message(query, code)
    return query.id .. string.char(query.recursive and 129 or 128, 128 + code) .. put16(query.question ~= "" and 1 or 0)
        .. put16(0) .. put16(0) .. put16(0) .. query.question
end

-- The records, with times to live that are `age` seconds less.
local function aged(answer, age)
    local parts = {}
    for i, part in ipairs(answer.body) do
        parts[i] = part
    end
    for _, place in ipairs(answer.ttls) do
        local part = parts[place.part]
        parts[place.part] = part:sub(1, place.at - 1) .. put32(math.max(0, place.ttl - age)) .. part:sub(place.at + 4)
    end
    return table.concat(parts)
end

-- An answer as one client asked for it.
local function write_answer(query, answer, age)
    local counts = answer.counts
    local opt = query.extended and opt_record(query.signed) or ""
    local message = query.id .. answer.flags .. put16(1) .. put16(counts[1]) .. put16(counts[2])
        .. put16(counts[3] + (query.extended and 1 or 0)) .. query.question .. aged(answer, age) .. opt
    if #message <= query.size then
        return message
    end
    local first, second = answer.flags:byte(1, 2) -- the client has to ask over TCP
    first = has(first, 2) and first or first + 2
    return query.id .. string.char(first, second) .. put16(1) .. put16(0) .. put16(0)
        .. put16(query.extended and 1 or 0) .. query.question .. opt
end

-- --- the cache: two generations, of which the older one goes when the younger is full ----------------

local young, old, young_size = {}, {}, 0

local function keep(key, answer)
    local ttl = math.min(answer.ttl, options["max-ttl"])
    if ttl <= 0 or options.cache < 1 then
        return
    end
    if young_size >= math.max(1, options.cache / 2) then
        young, old, young_size = {}, young, 0
    end
    young_size = young_size + (young[key] and 0 or 1)
    young[key] = { answer = answer, since = now(), ttl = ttl }
end

-- The answer and its age in whole seconds.
local function recall(key)
    local entry = young[key] or old[key]
    local age = entry and now() - entry.since
    if age and age < entry.ttl then
        return entry.answer, math.floor(age)
    end
    young_size = young_size - (young[key] and 1 or 0)
    young[key], old[key] = nil, nil
end

-- --- the upstream server -----------------------------------------------------------------------

local upstream
local waiting, waiting_count = {}, 0 -- by id: {query, future}
local asked = {} -- by key: the future of a query that is under way
local random = assert(io.open("/dev/urandom", "rb"))

local function new_id()
    local id
    repeat
        id = u16(random:read(2), 1)
    until not waiting[id]
    return id
end

local function take_answer(packet)
    local id = u16(packet, 1)
    local entry = #packet >= 12 and has(packet:byte(3), 128) and waiting[id]
    if not entry then
        counters.late = counters.late + 1
        return
    end
    local answer = read_answer(packet, entry.query)
    if not answer then
        counters.malformed = counters.malformed + 1 -- it may be forged: the true one may still come
        return
    end
    waiting[id] = nil
    if not entry.future:done() then
        entry.future:set_result(answer)
    end
end

local function hear()
    while not upstream:closed() do
        local packets = upstream:recv_many(BATCH, 4096) -- errors are of queries: they run into their timeout
        for _, packet in ipairs(packets or {}) do
            take_answer(packet)
        end
    end
end

-- The answer to a query, or nil if none comes in time.
local function forward(query)
    local id, future = new_id(), neap.future()
    waiting[id], waiting_count = { query = query, future = future }, waiting_count + 1
    counters.forwarded = counters.forwarded + 1
    local packet, answer = write_query(id, query), nil
    for _ = 1, TRIES do
        upstream:send(packet)
        answer = neap.move_on(options.timeout / TRIES, future.await, future)
        if answer then
            break
        end
    end
    waiting[id], waiting_count = nil, waiting_count - 1
    if answer then
        keep(query.key, answer)
    else
        counters.timeouts = counters.timeouts + 1
    end
    return answer
end

-- --- the clients --------------------------------------------------------------------------------

local server

local function answer_later(query, from, task)
    local answer = task:await()
    counters.answered = counters.answered + (answer and 1 or 0)
    server:sendto(answer and write_answer(query, answer, 0) or error_message(query, SERVFAIL), from)
end

local function ask(query, from)
    local task = asked[query.key]
    if task then
        counters.shared = counters.shared + 1
    elseif waiting_count >= options.queries then
        counters.dropped = counters.dropped + 1
        return
    else
        task = neap.spawn(function()
            local answer = forward(query)
            asked[query.key] = nil
            return answer
        end)
        asked[query.key] = task
    end
    neap.spawn(answer_later, query, from, task)
end

-- What can be answered at once, or nil.
local function answer_now(packet, from)
    counters.queries = counters.queries + 1
    local query, code, rest = read_query(packet)
    if not query then
        counters.malformed = counters.malformed + 1
        return code and error_message(rest, code)
    end
    local answer, age = recall(query.key)
    if answer then
        counters.cached = counters.cached + 1
        return write_answer(query, answer, age)
    end
    ask(query, from)
end

local function serve()
    while not server:closed() do
        local packets, from = server:recv_many(BATCH, 4096)
        local answers, to = {}, {}
        for i, packet in ipairs(packets or {}) do
            local answer = answer_now(packet, from[i])
            if answer then
                answers[#answers + 1], to[#to + 1] = answer, from[i]
            end
        end
        if answers[1] then
            server:send_many(answers, to)
        end
    end
end

local function check(ok, err)
    return ok or fail(tostring(err))
end

read_arguments(arg)
server, upstream = check(neap.udp()), check(neap.udp())
check(server:bind(options.listen or "127.0.0.1:5353"))
check(upstream:connect(options.upstream))
print("listening on " .. server:getsockname())
io.stdout:flush()

neap.on_shutdown(function()
    counters.overflows = server:getsockopt "drops"
    server:close()
    upstream:close()
end)
neap.spawn(hear)
serve()

local names = {}
for name in pairs(counters) do
    names[#names + 1] = name
end
table.sort(names)
for _, name in ipairs(names) do
    print(name .. "\t" .. counters[name])
end
