/* A program that embeds Lua and neap: it hands its own loop to a Lua state and goes on running it. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "neap_lua.h"
#include "support.h"

static const char paths[] =
    "package.path = '" NEAP_TEST_LUA_DIR "/?.lua;" NEAP_TEST_LUA_DIR "/?/init.lua'\n"
    "package.cpath = '" NEAP_TEST_LUA_CDIR "/?.so'";

static lua_State *state_on(neap_loop *loop) {
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    if (luaL_dostring(L, paths) != 0)
        fail_msg("%s", lua_tostring(L, -1));
    assert_int_equal(neap_lua_attach(L, loop), 0);
    return L;
}

static void run_chunk(lua_State *L, const char *chunk) {
    if (luaL_dostring(L, chunk) != 0)
        fail_msg("%s", lua_tostring(L, -1));
}

static void scripts_find_the_loop_of_the_host_and_wait_on_it(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    run_chunk(L, "local neap = require 'neap' "
                 "neap.loop():create_task(function() neap.sleep(2); woken = true; return 42 end)");
    lua_getglobal(L, "woken");
    assert_true(lua_isnil(L, -1));
    assert_int_equal(nt_metrics().tasks, 1);
    nt_turns(2);
    assert_ok(neap_loop_advance(nt.loop, 2 * NT_SEC));
    nt_turns(2);
    assert_int_equal(nt_metrics().tasks, 0);
    lua_getglobal(L, "woken");
    assert_true(lua_toboolean(L, -1));
    lua_close(L);
    assert_int_equal(neap_loop_is_closed(nt.loop), 0);
}

static void a_future_of_the_host_suspends_a_script_until_the_host_completes_it(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    neap_future *future = nt_future();
    neap_lua_push_future(L, future);
    assert_ptr_equal(neap_lua_to_future(L, -1), future);
    lua_setglobal(L, "answer");
    run_chunk(L, "local neap = require 'neap' "
                 "neap.loop():create_task(function() got = answer:await() end)");
    nt_turns(2);
    assert_ok(neap_future_set_int(future, 42));
    nt_turns(2);
    lua_getglobal(L, "got");
    assert_int_equal(lua_tointeger(L, -1), 42);
    lua_close(L);
    neap_future_unref(future);
}

static void closing_the_state_ends_its_tasks_and_leaves_the_loop_to_the_host(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    run_chunk(L, "local neap = require 'neap' "
                 "neap.loop():create_task(function() neap.sleep(1000) end)");
    nt_turns(2);
    lua_close(L);
    assert_int_equal(nt_metrics().tasks, 0);
    assert_int_equal(nt_metrics().timers, 0);
    nt_soon("the loop goes on");
    nt_turn();
    assert_notes("the loop goes on");
}

static void callbacks_of_ended_tasks_go_with_the_state(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    run_chunk(L, "local loop = require 'neap'.loop() "
                 "ended = loop:create_task(function() return 1 end) "
                 "failed = loop:create_task(function() error 'x' end):ignore()");
    nt_turns(2);
    run_chunk(L, "ended:add_done_callback(print) failed:add_done_callback(print)");
    lua_close(L);
    nt_turns(2);
}

static void a_callback_on_a_task_of_the_host_goes_with_the_state(void **state) {
    (void)state;
    nt_script script;
    neap_task *task = nt_spawn(&script, "host", NT_ACTS(NT_YIELD, NT_YIELD));
    lua_State *L = state_on(nt.loop);
    neap_lua_push_future(L, neap_task_future(task));
    lua_setglobal(L, "theirs");
    run_chunk(L, "theirs:add_done_callback(print)");
    lua_close(L);
    nt_turns(4);
    assert_int_equal(neap_future_done(neap_task_future(task)), 1);
    neap_task_unref(task);
}

static void a_script_sees_where_a_task_of_the_host_was_spawned(void **state) {
    (void)state;
    static const neap_task_ops ops = {.size = sizeof ops};
    neap_task_options options = {.size = sizeof options, .name = "theirs", .site = "host.c:7"};
    neap_task *task = NULL;
    assert_ok(neap_task_spawn(nt.loop, &ops, NULL, &options, &task));
    lua_State *L = state_on(nt.loop);
    neap_lua_push_future(L, neap_task_future(task));
    lua_setglobal(L, "theirs");
    run_chunk(L, "assert(theirs:name() == 'theirs') assert(theirs:site() == 'host.c:7')");
    assert_int_equal(neap_task_abort(task), 1);
    run_chunk(L, "assert(theirs:site() == 'host.c:7')");
    lua_close(L);
    neap_task_unref(task);
}

/* The next allocation fails, and the script has noted the code of an error. */
static void assert_out_of_memory(lua_State *L) {
    nt_heap_fail(&nt.heap, 1, 1);
    nt_turns(1);
    nt_heap_fail(&nt.heap, 0, 0);
    nt_turns(2);
    lua_getglobal(L, "code");
    assert_string_equal(lua_tostring(L, -1), "ENOMEM");
}

static void a_sleep_for_which_there_is_no_memory_raises(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    run_chunk(L, "local neap = require 'neap' "
                 "neap.loop():create_task(function()"
                 " local ok, err = pcall(neap.sleep, 1) code = err.code end)");
    assert_out_of_memory(L);
    lua_close(L);
}

static void a_task_whose_result_finds_no_memory_fails(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    run_chunk(L, "local loop = require 'neap'.loop() "
                 "local task = loop:create_task(function() return 'result' end) "
                 "loop:create_task(function()"
                 " local ok, err = pcall(task.await, task) code = not ok and err.code end)");
    assert_out_of_memory(L);
    lua_close(L);
    nt_claim_all();
}

static void an_ended_task_keeps_its_result_when_there_is_no_memory_for_a_future(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    run_chunk(L, "task = require 'neap'.loop():create_task(function() return 'result' end)");
    nt_turns(2);
    for (int n = 1; n <= 3; n++) {
        nt_heap_fail(&nt.heap, n, 1);
        run_chunk(L, "pcall(task.add_done_callback, task, print)");
        nt_heap_fail(&nt.heap, 0, 0);
        run_chunk(L, "assert(task:result() == 'result')");
    }
    lua_close(L);
}

/* ---- Two states in two threads */

typedef struct partner {
    neap_shared_chan *inbox, *outbox;
    const char *script;
} partner;

/* A state with a loop of its own; 0 if the script ran to its end. */
static intptr_t run_partner(void *user) {
    partner *p = user;
    lua_State *L = luaL_newstate();
    if (L == NULL)
        return 1;
    luaL_openlibs(L);
    int failed = luaL_dostring(L, paths);
    neap_lua_push_shared_chan(L, p->inbox);
    lua_setglobal(L, "inbox");
    neap_lua_push_shared_chan(L, p->outbox);
    lua_setglobal(L, "outbox");
    if (!failed && luaL_dostring(L, p->script) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        failed = 1;
    }
    lua_close(L);
    return failed;
}

static void *partner_main(void *user) {
    return (void *)run_partner(user);
}

static void scripts_in_two_threads_talk_through_shared_channels(void **state) {
    (void)state;
    partner doubles = {.script = "require 'neap'.run(function()\n"
                                 "  for value in inbox:iter() do outbox:send(value .. value) end\n"
                                 "  outbox:close()\n"
                                 "end)"};
    partner asks = {.script = "local neap, n = require 'neap', 0\n"
                              "neap.run(function()\n"
                              "  neap.spawn(function()\n"
                              "    for i = 1, 2000 do outbox:send(tostring(i)) end\n"
                              "    outbox:close()\n"
                              "  end)\n"
                              "  for value in inbox:iter() do\n"
                              "    n = n + 1\n"
                              "    assert(value == n .. '' .. n)\n"
                              "  end\n"
                              "end)\n"
                              "assert(n == 2000)"};
    pthread_t thread;
    void *failed;
    assert_ok(neap_shared_chan_new(&nt.heap.hook, 3, &doubles.inbox));
    assert_ok(neap_shared_chan_new(&nt.heap.hook, 0, &doubles.outbox));
    asks.inbox = doubles.outbox;
    asks.outbox = doubles.inbox;
    assert_int_equal(pthread_create(&thread, NULL, partner_main, &doubles), 0);
    assert_int_equal(run_partner(&asks), 0);
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    neap_shared_chan_unref(doubles.inbox);
    neap_shared_chan_unref(doubles.outbox);
}

static void a_shared_channel_goes_into_a_state_and_out_of_it(void **state) {
    (void)state;
    lua_State *L = state_on(nt.loop);
    neap_shared_chan *chan;
    assert_ok(neap_shared_chan_new(&nt.heap.hook, 1, &chan));
    neap_lua_push_shared_chan(L, chan);
    assert_ptr_equal(neap_lua_to_shared_chan(L, -1), chan);
    lua_pushliteral(L, "no channel");
    assert_null(neap_lua_to_shared_chan(L, -1));
    lua_close(L);
    neap_shared_chan_unref(chan);
}

NT_MAIN(NT_TEST_VIRTUAL(scripts_in_two_threads_talk_through_shared_channels),
        NT_TEST_VIRTUAL(a_shared_channel_goes_into_a_state_and_out_of_it),
        NT_TEST_VIRTUAL(scripts_find_the_loop_of_the_host_and_wait_on_it),
        NT_TEST_VIRTUAL(a_future_of_the_host_suspends_a_script_until_the_host_completes_it),
        NT_TEST_VIRTUAL(closing_the_state_ends_its_tasks_and_leaves_the_loop_to_the_host),
        NT_TEST_VIRTUAL(callbacks_of_ended_tasks_go_with_the_state),
        NT_TEST_VIRTUAL(a_callback_on_a_task_of_the_host_goes_with_the_state),
        NT_TEST_VIRTUAL(a_script_sees_where_a_task_of_the_host_was_spawned),
        NT_TEST_VIRTUAL(a_sleep_for_which_there_is_no_memory_raises),
        NT_TEST_VIRTUAL(a_task_whose_result_finds_no_memory_fails),
        NT_TEST_VIRTUAL(an_ended_task_keeps_its_result_when_there_is_no_memory_for_a_future))
