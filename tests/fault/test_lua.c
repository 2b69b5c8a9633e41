/* The Lua binding under failing memory: tasks, what they wait for and what they share.  test_lua_io.c has the rest. */
#include <lauxlib.h>
#include <lua.h>

#include "lua_script.h"

static void tasks(void) {
    ls_run("neap.spawn(function()\n"
           "  local value = neap.spawn(function() neap.sleep(1) return {1}, 2 end)\n"
           "  local named = neap.spawn{function() neap.yield() return 'text' end, name = "
           "'named', owns = {}}\n"
           "  local failing = neap.spawn(function() error{'x'} end)\n"
           "  local sleeping = neap.spawn(function() neap.sleep(1000) end)\n"
           "  local early = neap.spawn(function() end)\n"
           "  early:cancel('never starts')\n"
           "  pcall(failing.await, failing)\n"
           "  neap.gather(value, named)\n"
           "  sleeping:cancel('enough')\n"
           "  pcall(sleeping.await, sleeping)\n"
           "  neap.wait({value, named, neap.future()}, {timeout = 1})\n"
           "  neap.shield(named):await()\n"
           "  named:add_done_callback(function() end)\n"
           "  return named:name(), named:site(), failing:traceback()\n"
           "end)");
}

static void futures_and_timers(void) {
    ls_run("neap.spawn(function()\n"
           "  local f, loop = neap.future(), neap.loop()\n"
           "  f:add_done_callback(function() end)\n"
           "  loop:call_later(0.5, function(...) f:set_result(...) end, 1, {})\n"
           "  local every = loop:call_every(1, function() end)\n"
           "  f:await()\n"
           "  pcall(neap.wait_for, neap.future(), 2)\n"
           "  every:cancel()\n"
           "  local broken = neap.future()\n"
           "  loop:call_soon(broken.set_exception, broken, {'broken'})\n"
           "  pcall(broken.await, broken)\n"
           "  local inner = coroutine.wrap(function() neap.sleep(0.1) coroutine.yield(1) end)\n"
           "  inner()\n"
           "  local key = neap.task_local()\n"
           "  key:set({})\n"
           "  neap.spawn(function() return key:get() end):await()\n"
           "end)");
}

static void sockets(void) {
    ls_run("neap.spawn(function()\n"
           "  local a, b = neap.socketpair()\n"
           "  if not a then return end\n"
           "  local echo = neap.spawn(function()\n"
           "    while true do\n"
           "      local data = b:recv(100)\n"
           "      if not data or not b:sendall(data) then break end\n"
           "    end\n"
           "    b:close()\n"
           "  end)\n"
           "  for i = 1, 3 do\n"
           "    if not a:sendall(('x'):rep(40 * i)) or not a:recv(1000) then break end\n"
           "  end\n"
           "  local loop = neap.loop()\n"
           "  local received = loop:sock_recv(a, 10)\n"
           "  loop:sock_sendall(a, 'y')\n"
           "  received:await()\n"
           "  a:close()\n"
           "  echo:await()\n"
           "end)");
}

static void scopes_and_groups(void) {
    ls_run("neap.spawn(function()\n"
           "  neap.move_on(1, neap.sleep, 5)\n"
           "  pcall(neap.timeout, 1, function() neap.shielded(2, neap.sleep, 1.5) neap.sleep(5) "
           "end)\n"
           "  pcall(neap.group, function(group)\n"
           "    group:spawn(function() neap.sleep(1) error{'x'} end)\n"
           "    group:spawn(neap.sleep, 5)\n"
           "    group:start(function(ready) ready(1) neap.sleep(5) end)\n"
           "  end)\n"
           "  neap.group(function(group) group:spawn(function() return {} end) neap.sleep(1) "
           "end, {policy = 'any'})\n"
           "end)");
}

static void channels_and_locks(void) {
    ls_run("neap.spawn(function()\n"
           "  local channel, lock = neap.channel(2), neap.lock()\n"
           "  local sender = neap.spawn(function()\n"
           "    for i = 1, 5 do channel:send(i) channel:send{i} end\n"
           "  end)\n"
           "  neap.spawn(lock.with, lock, neap.sleep, 1)\n"
           "  neap.yield()\n"
           "  for i = 1, 10 do neap.move_on(1, channel.recv, channel) end\n"
           "  lock:with(function() end)\n"
           "  channel:close()\n"
           "  pcall(sender.await, sender)\n"
           "end)");
}

static void selects_and_what_tasks_share(void) {
    ls_run(
        "neap.spawn(function()\n"
        "  local queue, event, lock = neap.queue(2), neap.event(), neap.lock()\n"
        "  local changed, limiter = neap.condition(lock), neap.limiter(1)\n"
        "  local waiter = neap.spawn(lock.with, lock, function() changed:wait() end)\n"
        "  neap.spawn(limiter.with, limiter, function()\n"
        "    neap.sleep(1) queue:put('a', 2) event:set()\n"
        "    lock:with(changed.notify_all, changed)\n"
        "  end)\n"
        "  neap.select { queue, event, neap.spawn(neap.sleep, 5), function() neap.sleep(9) end }\n"
        "  neap.select { {queue, {}, 1}, function() neap.sleep(1) end }\n"
        "  for f in neap.each_completed { waiter, neap.sleep } do pcall(f.result, f) end\n"
        "end)");
}

static void looks_at_the_program(void) {
    ls_run("neap.spawn(function()\n"
           "  local lock = neap.lock()\n"
           "  neap.spawn{function() lock:with(neap.sleep, 1) end, name = 'holder'}\n"
           "  neap.group(function(group)\n"
           "    local waiter = group:spawn(function() lock:acquire() end)\n"
           "    neap.spawn{neap.sleep, 1, background = true}\n"
           "    neap.yield()\n"
           "    pcall(neap.tree)\n"
           "    pcall(neap.tree, {stacks = true, background = true})\n"
           "    pcall(neap.tree, {format = 'table'})\n"
           "    pcall(waiter.explain, waiter)\n"
           "    neap.loop():metrics()\n"
           "    neap.sleep(2)\n"
           "  end)\n"
           "end)");
}

static void streams(void) {
    ls_run("neap.spawn(function()\n"
           "  local a, b = neap.stream_pair()\n"
           "  if not a then return end\n"
           "  local reader = neap.spawn(function()\n"
           "    b:read_exactly(5)\n"
           "    b:read_until('--')\n"
           "    for line in b:lines() do\n"
           "      if line == 'last' then break end\n"
           "    end\n"
           "    b:read(10)\n"
           "    b:read('a')\n"
           "    b:close()\n"
           "  end)\n"
           "  a:write('12345')\n"
           "  neap.yield()\n"
           "  a:write({'head', '--', 'one\\n'}, 'two\\nlast\\n')\n"
           "  a:write(('x'):rep(300000))\n"
           "  a:drain()\n"
           "  a:write_eof()\n"
           "  pcall(reader.await, reader)\n"
           "  a:close()\n"
           "  b:abort()\n"
           "  neap.move_on(1, function()\n"
           "    local c, d = neap.stream_pair()\n"
           "    if c then c:read('l') end\n"
           "  end)\n"
           "end)");
}

static void functions_in_other_states(void) {
    ls_run("neap.spawn(function()\n"
           "  local pool, channel = neap.pool{threads = 1}, neap.shared_channel(2)\n"
           "  pcall(neap.blocking, function(...) return ... end, {1, {2}}, 'x', channel)\n"
           "  pcall(pool.run, pool, function() error{'x'} end)\n"
           "  local future = neap.loop():run_in_executor(pool, function() return {1}, 2 end)\n"
           "  pcall(future.await, future)\n"
           "  channel:try_send{1, {neap.shared_channel()}}\n"
           "  channel:try_recv()\n"
           "  pool:stats()\n"
           "  pool:shutdown()\n"
           "end)");
}

static void processes_and_signals(void) {
    ls_run_on("neap.spawn(function()\n"
              "  local signals = neap.signal('USR1', 'USR2')\n"
              "  neap.loop():add_signal_handler('USR1', function() end)\n"
              "  neap.scope(function()\n"
              "    local p = neap.process{'sh', '-c', 'kill -USR1 $PPID; cat', stdin = 'pipe',\n"
              "      stdout = 'pipe', stderr = 'null', env = {A = 'b'}, grace = 0.1}\n"
              "    if p and p:communicate('text') then signals:recv() end\n"
              "  end)\n"
              "  signals:close()\n"
              "  neap.loop():remove_signal_handler('USR1')\n"
              "  neap.scope(function()\n"
              "    local q = neap.process{'sleep', '1000', process_group = true}\n"
              "    if q then neap.move_on(0.001, q.wait, q) end\n"
              "  end)\n"
              "  neap.process{'nowhere'}\n"
              "  local r = neap.process{'true'}\n"
              "  if r then r:wait() end\n"
              "end)",
              0, NULL);
}

/* Collects from a thread whose stack is too full for a finalizer to be called without memory. */
static void collect_without_memory(lua_State *L) {
    lua_State *co = lua_newthread(L);
    lua_checkstack(co, LUA_MINSTACK + 10);
    lua_settop(co, LUA_MINSTACK + 10);
    nt_heap_fail(&nt.heap, 1, 1);
    lua_gc(co, LUA_GCCOLLECT, 0); /* tries the finalizers */
    lua_gc(co, LUA_GCCOLLECT, 0); /* frees what they were for */
    assert_true(atomic_load(&nt.heap.failed) > 0);
    nt_heap_fail(&nt.heap, 0, 0);
    lua_pop(L, 1);
}

/* One object of each class (but a worker, which is a thread besides), which holds something of the core where it can. */
static const char all_classes[] =
    "local loop, lock = neap.loop(), neap.lock()\n"
    "neap.spawn(function()\n"
    "  neap.group(function(group) group:spawn(function() end) end)\n"
    "  local changed = neap.condition(lock)\n"
    "  lock:with(changed.notify_all, changed)\n"
    "  local semaphore, limiter = neap.semaphore(1), neap.limiter(1)\n"
    "  semaphore:acquire() limiter:acquire() limiter:release()\n"
    "  neap.event():set()\n"
    "  neap.barrier(1):wait()\n"
    "  neap.channel(1):send({}) neap.queue(1):put({})\n"
    "  neap.shared_channel(1):send({})\n"
    "  neap.pool{threads = 1}:run(function() end)\n"
    "  neap.task_local():set({})\n"
    "  pcall(neap.await, neap.spawn(error))\n"
    "  local a, b = neap.socketpair()\n"
    "  a:send_fds('x', {a}) b:recv_fds()\n"
    "  assert(neap.stream_pair())\n"
    "  loop:call_soon(function() end) loop:call_later(1, function() end):cancel()\n"
    "  neap.new_loop()\n"
    "  neap.signal('HUP')\n"
    "  require 'neap.core'.workers.crew({count = 1}, {}, function() end)\n"
    "  return neap.future()\n"
    "end)";

/* What the collector could not finalize is gone for Lua, not for the state, which ends it when it closes. */
static void a_finalizer_that_cannot_be_called_leaves_nothing_behind(void **state) {
    (void)state;
    neap_loop *loop = nt_loop_new(NEAP_LOOP_VIRTUAL_CLOCK);
    lua_State *L = ls_state(loop, all_classes, NULL);
    if (lua_pcall(L, 0, 0, 0) != 0)
        fail_msg("%s", lua_tostring(L, -1));
    ls_run_tasks(loop);
    collect_without_memory(L);
    if (luaL_dostring(L, "neap.future() neap.tcp() collectgarbage()") != 0)
        fail_msg("%s", lua_tostring(L, -1));
    lua_close(L);
    nt_loop_end(loop);
}

/* fail(n): the n-th allocation from now on fails, and all after it; 0: none. */
static int fail_from(lua_State *L) {
    long n = (long)lua_tointeger(L, 1);
    nt_heap_fail(&nt.heap, n, n > 0);
    return 0;
}

/* Runs the script, which counts in `failures` how often memory was missing, and sets `done` at its end. */
static void run_until_done(const char *script) {
    neap_loop *loop = nt_loop_new(0);
    lua_State *L = ls_state(loop, script, NULL);
    lua_register(L, "fail", fail_from);
    lua_pushinteger(L, 0);
    lua_setglobal(L, "failures");
    if (lua_pcall(L, 0, 0, 0) != 0)
        fail_msg("%s", lua_tostring(L, -1));
    ls_run_tasks(loop);
    lua_getglobal(L, "done");
    assert_true(lua_toboolean(L, -1));
    lua_getglobal(L, "failures");
    assert_true(lua_tointeger(L, -1) > 0);
    lua_close(L);
    nt_loop_end(loop);
}

/* Each read is tried without memory, and then with it.  First with some, so that the core has its blocks: then it is Lua that
   has none. */
static void bytes_of_a_file_for_which_there_is_no_memory_come_with_the_next_read(void **state) {
    (void)state;
    run_until_done("neap.spawn(function()\n"
                   "  local f = assert(neap.fs.open('/proc/self/exe'))\n"
                   "  local whole = f:read_some(70000)\n"
                   "  for n = 10, 1, -1 do\n"
                   "    assert(f:seek('set') == 0)\n"
                   "    fail(n)\n"
                   "    local ok, data = pcall(f.read_some, f, 70000)\n"
                   "    fail(0)\n"
                   "    if not ok then\n"
                   "      failures = failures + 1\n"
                   "      data = f:read_some(70000)\n"
                   "    end\n"
                   "    assert(data == whole)\n"
                   "  end\n"
                   "  f:close()\n"
                   "  done = true\n"
                   "end)");
}

static void a_line_for_which_there_is_no_memory_is_read_again_whole(void **state) {
    (void)state;
    run_until_done("neap.spawn(function()\n"
                   "  local a, b = neap.stream_pair()\n"
                   "  local line = ('x'):rep(5000)\n"
                   "  for n = 10, 1, -1 do\n"
                   "    a:write(line, n, '\\n', 'second\\n')\n"
                   "    b:fill(5009)\n"
                   "    fail(n)\n"
                   "    local ok, data = pcall(b.read_line, b)\n"
                   "    fail(0)\n"
                   "    if not ok then\n"
                   "      failures = failures + 1\n"
                   "      data = b:read_line()\n"
                   "    end\n"
                   "    assert(data == line .. n)\n"
                   "    assert(b:read_line() == 'second')\n"
                   "  end\n"
                   "  a:close()\n"
                   "  b:close()\n"
                   "  done = true\n"
                   "end)");
}

#define SWEEP(scenario)                                         \
    static void under_failing_memory_##scenario(void **state) { \
        (void)state;                                            \
        nt_fault(scenario);                                     \
    }

SWEEP(tasks)
SWEEP(futures_and_timers)
SWEEP(sockets)
SWEEP(scopes_and_groups)
SWEEP(channels_and_locks)
SWEEP(selects_and_what_tasks_share)
SWEEP(looks_at_the_program)
SWEEP(streams)
SWEEP(functions_in_other_states)
SWEEP(processes_and_signals)

NT_MAIN(NT_TEST_BARE(under_failing_memory_tasks),
        NT_TEST_BARE(under_failing_memory_futures_and_timers),
        NT_TEST_BARE(under_failing_memory_sockets),
        NT_TEST_BARE(under_failing_memory_scopes_and_groups),
        NT_TEST_BARE(under_failing_memory_channels_and_locks),
        NT_TEST_BARE(under_failing_memory_selects_and_what_tasks_share),
        NT_TEST_BARE(under_failing_memory_looks_at_the_program),
        NT_TEST_BARE(under_failing_memory_streams),
        NT_TEST_BARE(under_failing_memory_functions_in_other_states),
        NT_TEST_BARE(under_failing_memory_processes_and_signals),
        NT_TEST_BARE(bytes_of_a_file_for_which_there_is_no_memory_come_with_the_next_read),
        NT_TEST_BARE(a_line_for_which_there_is_no_memory_is_read_again_whole),
        NT_TEST_BARE(a_finalizer_that_cannot_be_called_leaves_nothing_behind))
