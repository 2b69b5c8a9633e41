-- A name server for tests, on one port of loopback over UDP and TCP: what it answers, and how wrongly, says a function.
local neap = require "neap"

local dns = {}

dns.types = { A = 1, CNAME = 5, PTR = 12, AAAA = 28 }
dns.SERVFAIL, dns.NXDOMAIN, dns.REFUSED = 2, 3, 5

local function u16(n)
    return string.char(math.floor(n / 256) % 256, n % 256)
end

local function u32(n)
    return u16(math.floor(n / 65536)) .. u16(n % 65536)
end

local function read_u16(data, at)
    local high, low = data:byte(at, at + 1)
    return high * 256 + low
end

local function name_bytes(name)
    return (name:gsub("[^.]+%.?", function(label)
        label = label:gsub("%.$", "")
        return string.char(#label) .. label
    end)) .. "\0"
end

-- What is asked, of a message as it came.
local function read_query(data, tcp)
    local labels, at = {}, 13
    while data:byte(at) > 0 do
        local n = data:byte(at)
        labels[#labels + 1] = data:sub(at + 1, at + n)
        at = at + 1 + n
    end
    return {
        id = read_u16(data, 1), name = table.concat(labels, "."):lower(), type = read_u16(data, at + 1),
        question = data:sub(13, at + 4), tcp = tcp,
    }
end

local function address_bytes(text)
    if not text:find ":" then
        return (text:gsub("(%d+)%.?", function(n)
            return string.char(tonumber(n))
        end))
    end
    local head, tail = text:match "^(.-)::(.*)$"
    local function groups(part)
        return (part:gsub("(%x+):?", function(group)
            return u16(tonumber(group, 16))
        end))
    end
    head, tail = groups(head or text), groups(tail or "")
    return head .. ("\0"):rep(16 - #head - #tail) .. tail
end

-- A record: { name, "A", "192.0.2.1", ttl = seconds }.
local function record_bytes(record)
    local kind, value = record[2], record[3]
    local data = (kind == "A" or kind == "AAAA") and address_bytes(value) or name_bytes(value)
    return name_bytes(record[1]) .. u16(dns.types[kind]) .. u16(1) .. u32(record.ttl or 0) .. u16(#data) .. data
end

-- A message that answers the query with these records.  options: rcode, id, truncated.
function dns.reply(query, records, options)
    options = options or {}
    local flags = 0x8180 + (options.rcode or 0) + (options.truncated and 0x200 or 0)
    local parts = { u16(options.id or query.id) .. u16(flags) .. u16(1) .. u16(#records) .. u16(0) .. u16(0)
        .. query.question }
    for _, record in ipairs(records) do
        parts[#parts + 1] = record_bytes(record)
    end
    return table.concat(parts)
end

-- The addresses of a name: of the family that is asked for.
function dns.addresses(query, list, ttl)
    local records = {}
    for _, address in ipairs(list) do
        if (address:find ":" and dns.types.AAAA or dns.types.A) == query.type then
            records[#records + 1] = { query.name, address:find ":" and "AAAA" or "A", address, ttl = ttl }
        end
    end
    return dns.reply(query, records)
end

local function serve_udp(socket, handler)
    while true do
        local data, from = socket:recvfrom(4096)
        if not data then
            return
        end
        neap.spawn(function()
            local answer = handler(read_query(data, false))
            if answer then
                socket:sendto(answer, from)
            end
        end)
    end
end

local function read_exactly(conn, n)
    local parts, left = {}, n
    while left > 0 do
        local data = conn:recv(left)
        if not data then
            return nil
        end
        parts[#parts + 1], left = data, left - #data
    end
    return table.concat(parts)
end

local function serve_tcp(listener, handler)
    while true do
        local conn = listener:accept()
        if not conn then
            return
        end
        neap.spawn { function()
            local head = read_exactly(conn, 2)
            local data = head and read_exactly(conn, read_u16(head, 1))
            local answer = data and handler(read_query(data, true))
            if answer then
                conn:sendall(u16(#answer) .. answer)
            end
            conn:close()
        end, owns = { conn } }
    end
end

-- A UDP socket and a TCP listener on the same port of loopback, and its address.
function dns.bind_both()
    for _ = 1, 100 do
        local socket, listener = neap.udp(), neap.tcp()
        assert(socket:bind "127.0.0.1:0")
        local address = socket:getsockname()
        if listener:bind(address) and listener:listen() then
            return address, socket, listener
        end
        socket:close()
        listener:close()
    end
    error "no port is free for both UDP and TCP"
end

-- Runs body(address) beside a server that answers what handler(query) returns, nil: nothing.
function dns.with_server(handler, body)
    local address, socket, listener = dns.bind_both()
    local ok, err
    neap.group(function(group)
        group:spawn(serve_udp, socket, handler)
        group:spawn(serve_tcp, listener, handler)
        ok, err = neap.pcall(body, address)
        group:cancel "the test is over"
    end)
    socket:close()
    listener:close()
    if not ok then
        error(err, 0)
    end
end

return dns
