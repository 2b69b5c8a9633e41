/* The Lua binding under failing memory: servers, connections, streams, processes, files, datagrams, calls on threads. */
#include "files.h"
#include "lua_script.h"

/* What the script does may be given up after a while; each failure is one that a user can understand. */
#define SCRIPT(text)                                                                     \
    "local function try(value, err, ...)\n"                                              \
    "  if value == nil then expected(err) end\n"                                         \
    "  return value, err, ...\n"                                                         \
    "end\n"                                                                              \
    "neap.spawn(function()\n"                                                            \
    "  local ok, err = pcall(neap.move_on, 20, neap.group, function()\n" text "  end)\n" \
    "  if ok then complete() else expected(err) end\n"                                   \
    "end)"

static void run(const char *script) {
    int completed = ls_run_on(script, 0, nt_path(""));
    nt_empty_dir();
    assert_true(completed || atomic_load(&nt.heap.failed) > 0);
}

static void a_server_of_streams(void) {
    run(SCRIPT("  local server = try(neap.serve({'127.0.0.1:0', '127.0.0.1:0'}, function(conn)\n"
               "    for line in conn:lines() do\n"
               "      if line == 'fail' then error{'x'} end\n"
               "      conn:write(line, '\\n')\n"
               "    end\n"
               "    conn:close()\n"
               "  end, {max_connections = 2, backlog = 5}))\n"
               "  if not server then return end\n"
               "  local address = server:addresses()[1]\n"
               "  for _, text in ipairs{'one\\ntwo\\n', 'fail\\n'} do\n"
               "    local conn = try(neap.connect(address))\n"
               "    if conn and try(conn:write(text)) and try(conn:write_eof()) then\n"
               "      try(conn:read('l', 'L'))\n"
               "      try(conn:read('a'))\n"
               "      try(conn:close())\n"
               "    end\n"
               "  end\n"
               "  server:connections()\n"
               "  server:metrics()\n"
               "  server:close{grace = 1, cancel_grace = 1}\n"
               "  server:wait_closed()\n"));
}

static void a_server_whose_connections_are_asked_for(void) {
    run(SCRIPT(
        "  local path = dir .. '/server'\n"
        "  local server = try(neap.listen('unix:' .. path, {sockets = true, paused = true}))\n"
        "  if not server then return end\n"
        "  server:resume()\n"
        "  local client = neap.spawn(function() return try(neap.connect('unix:' .. path)) "
        "end)\n"
        "  local sock = try(server:accept())\n"
        "  if sock then try(sock:sendall('x')) sock:close() end\n"
        "  local conn = client:await()\n"
        "  if conn then try(conn:read_exactly(1)) conn:abort() end\n"
        "  neap.move_on(0, server.accept, server)\n"
        "  server:abort()\n"
        "  server:wait_closed()\n"));
}

static void handlers_that_are_ended(void) {
    run(SCRIPT("  local server = try(neap.serve('127.0.0.1:0', function(conn)\n"
               "    pcall(conn.read, conn, 1)\n"
               "    neap.sleep(60)\n"
               "  end))\n"
               "  if not server then return end\n"
               "  local a = try(neap.connect(server:addresses()[1]))\n"
               "  local b = try(neap.connect(server:addresses()[1]))\n"
               "  neap.sleep(0.001)\n"
               "  server:close{grace = 0, cancel_grace = 0}\n"
               "  server:wait_closed()\n"
               "  if a then try(a:read(1)) a:close() end\n"
               "  if b then b:abort() end\n"));
}

static void protocols(void) {
    run(SCRIPT("  local loop = neap.loop()\n"
               "  local function factory()\n"
               "    local protocol = {}\n"
               "    function protocol:connection_made(transport) self.transport = transport end\n"
               "    function protocol:data_received(data) self.transport:write(data) end\n"
               "    function protocol:eof_received() end\n"
               "    function protocol:connection_lost() end\n"
               "    return protocol\n"
               "  end\n"
               "  local server = try(loop:create_server(factory, '127.0.0.1', 0))\n"
               "  if not server then return end\n"
               "  local lost = neap.future()\n"
               "  local client = {}\n"
               "  function client:connection_made(transport)\n"
               "    transport:write('hello')\n"
               "    transport:writelines{'a', 'b'}\n"
               "    transport:get_extra_info('peername')\n"
               "    self.transport = transport\n"
               "  end\n"
               "  function client:data_received(data)\n"
               "    self.n = (self.n or 0) + #data\n"
               "    if self.n == 7 then self.transport:close() end\n"
               "  end\n"
               "  function client:connection_lost(err)\n"
               "    expected(err)\n"
               "    if not lost:done() then lost:set_result() end\n"
               "  end\n"
               "  local address = server:addresses()[1]\n"
               "  if try(loop:create_connection(function() return client end, address)) then\n"
               "    neap.move_on(1, lost.await, lost)\n"
               "  end\n"
               "  server:close{grace = 0}\n"
               "  server:wait_closed()\n"));
}

static void connections(void) {
    run(SCRIPT("  local listener = try(neap.tcp())\n"
               "  if not listener or not try(listener:bind('127.0.0.1:0')) or not "
               "try(listener:listen()) then return end\n"
               "  local address = listener:getsockname()\n"
               "  local port = address:match('%d+$')\n"
               "  for _, to in ipairs{address, 'localhost:' .. port, '127.0.0.1:' .. port} do\n"
               "    local ok, conn, err = pcall(neap.connect, to)\n"
               "    expected(not ok and conn or err)\n"
               "    if ok and conn then conn:close() end\n"
               "  end\n"
               "  local sock = try(neap.connect_sock(address, {local_addr = '127.0.0.1:0'}))\n"
               "  if sock then sock:close() end\n"
               "  try(neap.connect('unix:' .. dir .. '/nobody'))\n"
               "  listener:close()\n"
               "  try(neap.connect(address))\n"
               "  local names = try(neap.resolve('localhost', port))\n"
               "  local infos = neap.loop():getaddrinfo('127.0.0.1', port)\n"
               "  try(neap.getnameinfo(address))\n"
               "  neap.move_on(0, neap.connect, 'localhost:' .. port)\n"));
}

static void streams_in_every_way(void) {
    run(SCRIPT("  local a, b = neap.stream_pair()\n"
               "  expected(not a and b or nil)\n"
               "  if not a then return end\n"
               "  local r, w = neap.stream_pair()\n"
               "  local file = try(neap.fs.open(dir .. '/sent', 'w+'))\n"
               "  if file then file:write(('file'):rep(500)) end\n"
               "  neap.gather(function()\n"
               "    try(a:write('12 0x10 line\\n'))\n"
               "    try(a:write({'head', '--', 'one', 1}, '\\n', 'rest'))\n"
               "    a:buffer('later')\n"
               "    a:try_write('now')\n"
               "    if file then try(a:sendfile(file, 2, 1000)) end\n"
               "    try(a:drain())\n"
               "    a:write(('x'):rep(200000))\n"
               "    a:close()\n"
               "  end, function()\n"
               "    try(b:read('n', 'n', 'l'))\n"
               "    b:limit(10)\n"
               "    try(b:read_until({'--', ';'}))\n"
               "    try(b:read_line())\n"
               "    b:limit(1000000)\n"
               "    if b:fill(4) then\n"
               "      local seen = b:peek(2)\n"
               "      b:consume(2)\n"
               "      b:unread(seen)\n"
               "    end\n"
               "    b:try_read(3)\n"
               "    try(b:read_some(10))\n"
               "    try(b:read_exactly(5))\n"
               "    try(b:read_all())\n"
               "    b:at_end()\n"
               "    b:abort()\n"
               "  end)\n"
               "  if r then\n"
               "    neap.move_on(0, r.read, r, 'l')\n"
               "    local waiting = neap.spawn(r.read_exactly, r, 5)\n"
               "    neap.yield()\n"
               "    r:close()\n"
               "    pcall(waiting.await, waiting)\n"
               "    w:write('x')\n"
               "  end\n"
               "  if file then file:close() end\n"
               "  tostring(b)\n"));
}

static void processes(void) {
    run(SCRIPT("  neap.scope(function()\n"
               "    local p = try(neap.process{'cat', stdin = 'pipe', stdout = 'pipe', fds = "
               "{[3] = 'pair'}, grace = 1})\n"
               "    if not p then return end\n"
               "    if try(p.stdin:write('one\\ntwo\\n')) then\n"
               "      try(p.stdout:read('l'))\n"
               "    end\n"
               "    p.stdin:close()\n"
               "    try(p.stdout:read('a'))\n"
               "    p:wait() p:status() p:usage()\n"
               "    tostring(p)\n"
               "  end)\n"
               "  local q = try(neap.shell('read x; echo $x; exit 3', {stdin = 'pipe', "
               "stdout = 'pipe', stderr = 'pipe'}))\n"
               "  if q then try(q:communicate('text\\n')) q:close() end\n"
               "  local many = {}\n"
               "  pcall(neap.scope, function()\n"
               "    for i = 1, 2 do many[i] = try(neap.process{'sleep', '1000', "
               "process_group = i == 1}) end\n"
               "    error{'x'}\n"
               "  end)\n"));
}

static void files(void) {
    run(SCRIPT(
        "  local fs, path = neap.fs, dir .. '/file'\n"
        "  try(fs.write(path, 'one\\ntwo\\n'))\n"
        "  try(fs.append(path, 'three3\\n'))\n"
        "  try(fs.replace(path, 'one\\ntwo\\nthree'))\n"
        "  try(fs.read(path))\n"
        "  try(fs.copy(path, path .. '2'))\n"
        "  try(fs.rename(path .. '2', path .. '3'))\n"
        "  try(fs.symlink('file', path .. '4'))\n"
        "  try(fs.readlink(path .. '4'))\n"
        "  try(fs.realpath(path .. '4'))\n"
        "  try(fs.stat(path))\n"
        "  try(fs.read(dir .. '/nowhere'))\n"
        "  pcall(fs.exists, dir .. '/nowhere')\n"
        "  try(fs.mkdir(dir .. '/a/b', {parents = true}))\n"
        "  local temporary, name = fs.mkstemp(dir .. '/XXXXXX')\n"
        "  if temporary then temporary:close() end\n"
        "  local directory = try(fs.mkdtemp(dir .. '/XXXXXX'))\n"
        "  pcall(function() for line in fs.lines(path) do end end)\n"
        "  pcall(function() for entry in fs.walk(dir, {sorted = true}) do end end)\n"
        "  local file = try(fs.open(path, 'r+'))\n"
        "  if file then\n"
        "    try(file:read('l', 'n', 3))\n"
        "    try(file:write('x', 1))\n"
        "    try(file:seek('set', 0))\n"
        "    try(file:pread(3, 1))\n"
        "    try(file:pwrite('y', 2))\n"
        "    for line in file:lines() do end\n"
        "    try(file:stat()) try(file:truncate(3)) try(file:sync())\n"
        "    neap.move_on(0, file.read, file, 'a')\n"
        "    try(file:close())\n"
        "  end\n"
        "  neap.gather(function() try(fs.read(path)) end, function() try(fs.stat(path)) end)\n"
        "  try(fs.remove_tree(dir .. '/a'))\n"));
}

static void watches_of_directories(void) {
    run(SCRIPT("  local fs, path = neap.fs, dir .. '/watched'\n"
               "  try(fs.mkdir(path))\n"
               "  local watch = try(fs.watch(path, {recursive = true}))\n"
               "  if not watch then return end\n"
               "  try(fs.mkdir(path .. '/below'))\n"
               "  try(fs.write(path .. '/file', 'x'))\n"
               "  for i = 1, 2 do\n"
               "    neap.move_on(0.2, function() try(watch:next()) end)\n"
               "  end\n"
               "  watch:close()\n"
               "  try(watch:next())\n"
               "  try(fs.remove_tree(path))\n"));
}

static void datagrams(void) {
    run(SCRIPT("  local a, b = neap.udp(), neap.udp()\n"
               "  if not a or not b or not try(a:bind('127.0.0.1:0')) or not "
               "try(b:bind('127.0.0.1:0')) then return end\n"
               "  local to = b:getsockname()\n"
               "  if try(a:sendto('one', to)) then try(b:recvfrom(100)) end\n"
               "  if try(a:send_many({'two', 'three'}, to)) then try(b:recv_many(10, 100)) end\n"
               "  local waiting = neap.spawn(function() return try(b:recvfrom(100)) end)\n"
               "  local batch = neap.spawn(function() return try(b:recv_many(2)) end)\n"
               "  neap.yield()\n"
               "  a:sendto('four', to)\n"
               "  a:sendto('five', to)\n"
               "  neap.move_on(1, neap.gather, waiting, batch)\n"
               "  neap.move_on(0, a.recvfrom, a, 10)\n"
               "  neap.move_on(0, a.recv_many, a, 10)\n"
               "  a:close()\n"
               "  b:close()\n"));
}

static void descriptors(void) {
    run(SCRIPT("  local a, b = neap.socketpair()\n"
               "  if not a then return end\n"
               "  local r, w = neap.socketpair()\n"
               "  if not r then return end\n"
               "  for i = 1, 2 do\n"
               "    local receiving = neap.spawn(function()\n"
               "      local data, fds = b:recv_fds(10, 2)\n"
               "      expected(not data and fds or nil)\n"
               "      for _, fd in ipairs(data and fds or {}) do fd:close() end\n"
               "    end)\n"
               "    neap.yield()\n"
               "    if try(a:send_fds('x', {r, w})) then receiving:await() else "
               "receiving:cancel() end\n"
               "  end\n"
               "  if try(a:send_fds('y', {r})) then\n"
               "    local data, fds = b:recv_fds(10)\n"
               "    if data and fds[1] then\n"
               "      local stream = try(neap.stream(fds[1]))\n"
               "      if stream then stream:close() end\n"
               "    end\n"
               "  end\n"
               "  b:peer_credentials()\n"
               "  a:send_fds('never received', {r, w})\n"));
}

static void calls_on_other_threads(void) {
    run(SCRIPT(
        "  try(neap.blocking(function(a, b) return {a, {b}}, #b end, {1, x = {2}}, 'text'))\n"
        "  local ok, err = pcall(neap.blocking, function() error{code = 'x'} end)\n"
        "  local pool = neap.pool{threads = 1, queue = 2}\n"
        "  local futures = {}\n"
        "  for i = 1, 3 do\n"
        "    local made, future = pcall(neap.spawn, function()\n"
        "      local done, e = pcall(pool.run, pool, function(...) return ... end, i)\n"
        "      expected(not done and e or nil)\n"
        "    end)\n"
        "    if made then futures[#futures + 1] = future end\n"
        "  end\n"
        "  neap.move_on(0, neap.blocking, {function() end, name = 'cancelled'})\n"
        "  for _, future in ipairs(futures) do pcall(future.await, future) end\n"
        "  pool:shutdown{timeout = 1}\n"));
}

static void shared_descriptors(void) {
    run(SCRIPT("  local a, b = neap.socketpair()\n"
               "  if not a then return end\n"
               "  local stream = try(neap.shared_stream(a:fileno()))\n"
               "  if stream then\n"
               "    try(stream:write('x'))\n"
               "    stream:close()\n"
               "  end\n"
               "  try(neap.stream(b))\n"
               "  tostring(neap.stdout)\n"));
}

#define SWEEP(scenario)                                         \
    static void under_failing_memory_##scenario(void **state) { \
        (void)state;                                            \
        nt_fault(scenario);                                     \
    }

SWEEP(a_server_of_streams)
SWEEP(a_server_whose_connections_are_asked_for)
SWEEP(handlers_that_are_ended)
SWEEP(protocols)
SWEEP(connections)
SWEEP(streams_in_every_way)
SWEEP(processes)
SWEEP(files)
SWEEP(watches_of_directories)
SWEEP(datagrams)
SWEEP(descriptors)
SWEEP(calls_on_other_threads)
SWEEP(shared_descriptors)

NT_MAIN(NT_TEST_DIR_BARE(under_failing_memory_a_server_of_streams),
        NT_TEST_DIR_BARE(under_failing_memory_a_server_whose_connections_are_asked_for),
        NT_TEST_DIR_BARE(under_failing_memory_handlers_that_are_ended),
        NT_TEST_DIR_BARE(under_failing_memory_protocols),
        NT_TEST_DIR_BARE(under_failing_memory_connections),
        NT_TEST_DIR_BARE(under_failing_memory_streams_in_every_way),
        NT_TEST_DIR_BARE(under_failing_memory_processes),
        NT_TEST_DIR_BARE(under_failing_memory_files),
        NT_TEST_DIR_BARE(under_failing_memory_watches_of_directories),
        NT_TEST_DIR_BARE(under_failing_memory_datagrams),
        NT_TEST_DIR_BARE(under_failing_memory_descriptors),
        NT_TEST_DIR_BARE(under_failing_memory_calls_on_other_threads),
        NT_TEST_DIR_BARE(under_failing_memory_shared_descriptors))
