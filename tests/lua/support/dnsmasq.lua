-- Debian's dnsmasq as a name server for tests, on a free port of loopback.
local neap = require "neap"
local dns = require "support.dns"
local process = require "support.process"

local dnsmasq = {}

-- Of both protocols; another program may still be quicker.
local function free_address()
    return neap.run(function()
        local address, socket, listener = dns.bind_both()
        socket:close()
        listener:close()
        return address
    end)
end

local function start(address, zone)
    local dir = process.temp_dir()
    local argv = { "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=" .. dir .. "/pid",
        "--no-resolv", "--no-hosts", "--port=" .. address:match ":(%d+)$", "--listen-address=127.0.0.1",
        "--bind-interfaces", "--log-facility=-", "--user=" .. process.capture "id -un":gsub("%s", "") }
    for _, line in ipairs(zone) do
        argv[#argv + 1] = line
    end
    local server = process.start(argv, { env = { PATH = os.getenv "PATH" .. ":/usr/sbin:/sbin" } })
    server.extra = dir
    return server
end

-- A server with these options beside the usual ones, which answers, and its address.
function dnsmasq.start(zone)
    for _ = 1, 10 do
        local address = free_address()
        local server = start(address, zone)
        process.await("dnsmasq", function()
            return server:err():find("started", 1, true) or server:ended()
        end)
        if not server:ended() then
            return server, address
        end
        local complaint = server:err()
        server:dispose()
        assert(complaint:find("already in use", 1, true), complaint)
    end
    error "dnsmasq found no free port"
end

return dnsmasq
