#include "lua_script.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "neap_lua.h"

/* Lua tries again when it has collected: what was refused once is refused again, so that Lua hears of it. */
static size_t refused;

static void *lua_grow(neap_allocator *a, void *p, size_t old, size_t n) {
    if (p != NULL && n <= old) { /* Lua relies on shrinking */
        long at = atomic_exchange(&nt.heap.fail_at, 0);
        void *q = a->realloc(a->ctx, p, old, n);
        atomic_store(&nt.heap.fail_at, at);
        return q;
    }
    if (refused == n) {
        refused = 0;
        return NULL;
    }
    void *q = p == NULL ? a->alloc(a->ctx, n) : a->realloc(a->ctx, p, old, n);
    refused = q == NULL ? n : 0;
    return q;
}

static void *lua_memory(void *ud, void *p, size_t old, size_t n) {
    neap_allocator *a = ud;
    if (n > 0)
        return lua_grow(a, p, old, n);
    a->free(a->ctx, p, old);
    return NULL;
}

static int panic(lua_State *L) {
    fprintf(stderr, "an error outside of a protected call: %s\n", lua_tostring(L, -1));
    return 0; /* Lua aborts */
}

/* What a script got for an error and should not have. */
static char unexpected[256];

/* Whether the script has told that it came to its end. */
static int completed;

static int complete(lua_State *L) {
    (void)L;
    completed = 1;
    return 0;
}

static int expected(lua_State *L) {
    lua_settop(L, 1);
    const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    int known = lua_isnil(L, 1) || (text != NULL && strstr(text, "not enough memory") != NULL) ||
                (lua_istable(L, 1) && lua_getmetatable(L, 1));
    lua_settop(L, 1);
    if (!known && unexpected[0] == '\0')
        snprintf(unexpected, sizeof unexpected, "%s %s", luaL_typename(L, 1), text ? text : "");
    return 1;
}

lua_State *ls_state(neap_loop *loop, const char *script, const char *dir) {
    lua_State *L = lua_newstate(lua_memory, &nt.heap.hook);
    assert_non_null(L);
    lua_atpanic(L, panic);
    luaL_openlibs(L);
    lua_pushstring(L, dir);
    lua_setglobal(L, "dir");
    lua_register(L, "expected", expected);
    lua_register(L, "complete", complete);
    const char *paths =
        "package.path = '" NEAP_TEST_LUA_DIR "/?.lua;" NEAP_TEST_LUA_DIR "/?/init.lua'\n"
        "package.cpath = '" NEAP_TEST_LUA_CDIR "/?.so'\n"
        "neap = require 'neap'";
    if (luaL_dostring(L, paths) != 0 || luaL_loadstring(L, script) != 0)
        fail_msg("%s", lua_tostring(L, -1));
    assert_int_equal(neap_lua_attach(L, loop), 0);
    return L;
}

void ls_run_tasks(neap_loop *loop) {
    for (int turns = 0; turns < 300 && nt_metrics_of(loop).tasks > 0; turns++) {
        int32_t n = neap_loop_run_once(loop, 10 * NT_SEC);
        assert_true(n >= 0 || n == NEAP_ENOMEM);
    }
}

static void expect_no_children(void) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* A call on a thread that its loop has not waited for ends by itself. */
static void await_threads(void) {
    for (int i = 0; i < 20000 && atomic_load(&nt.heap.blocks) > 0; i++)
        usleep(1000);
}

int ls_run_on(const char *script, uint32_t flags, const char *dir) {
    long at = atomic_load(&nt.heap.fail_at);
    int on = atomic_load(&nt.heap.fail_on);
    nt_heap_fail(&nt.heap, 0, 0);
    unexpected[0] = '\0';
    completed = 0;
    refused = 0;
    neap_loop *loop = nt_fault_loop(flags);
    lua_State *L = ls_state(loop, script, dir);
    nt_heap_fail(&nt.heap, at, on);
    if (lua_pcall(L, 0, 0, 0) != 0)
        lua_pop(L, 1);
    ls_run_tasks(loop);
    lua_close(L);
    assert_ok(neap_loop_close(loop, 0));
    neap_loop_unref(loop);
    await_threads();
    expect_no_children();
    assert_string_equal(unexpected, "");
    return completed;
}

void ls_run(const char *script) {
    ls_run_on(script, NEAP_LOOP_VIRTUAL_CLOCK, NULL);
}
