/* ltesting.c: what neap/testing.lua cannot do in Lua: runs within limits, an end for scripts that never wait, what is left
   on a loop, and what is open in the process.

   Finalizers may run whenever Lua allocates, and change every list: so texts are collected in memory of our own first. */
#include "lneap.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    COUNT = 10000, /* instructions between two looks at the clock */
    TICKS_AFTER = 10000,
    SLACK_NS = 100000000
};

/* ---- Lines ---- */

typedef struct lines {
    char *bytes;
    size_t len, cap;
    int lost; /* memory was out */
} lines;

static void __attribute__((format(printf, 2, 3))) add(lines *to, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (to->len + len > to->cap) {
        size_t cap = 2 * to->cap + sizeof text;
        char *bytes = realloc(to->bytes, cap);
        to->lost |= bytes == NULL;
        if (bytes == NULL)
            return;
        to->bytes = bytes;
        to->cap = cap;
    }
    memcpy(to->bytes + to->len, text, len);
    to->len += len;
}

/* Pushes them as one string, which is copied where an error can do no harm. */
static int copy_lines(lua_State *L) {
    const lines *from = lua_touserdata(L, 1);
    lua_pushlstring(L, from->len > 0 ? from->bytes : "", from->len);
    return 1;
}

static int push_lines(lua_State *L, lines *from) {
    lua_pushcfunction(L, copy_lines);
    lua_pushlightuserdata(L, from);
    int status = lua_pcall(L, 1, 1, 0);
    free(from->bytes);
    if (from->lost)
        return luaL_error(L, "not enough memory");
    return status == LUA_OK ? 1 : lua_error(L);
}

/* ---- What is left on a loop, a line each ---- */

static int32_t add_task(neap_task *task, void *user) {
    char line[512];
    neap_task_describe(task, line, sizeof line);
    add(user, "%s, spawned at %s\n", line, neap_task_site(task));
    return 0;
}

/* tasks(loop): its live tasks. */
static int tasks(lua_State *L) {
    nl_loop *l = nl_check_loop(L, NL_STATE(L), 1);
    lines to = {0};
    neap_task_walk(l->loop, add_task, &to);
    return push_lines(L, &to);
}

/* Where the function of a handle stands in the script. */
static void add_callee(lines *to, nl_state *st, const nl_handle *h) {
    lua_State *R = st->R;
    int top = lua_gettop(R);
    lua_Debug ar;
    nl_anchored(R, h->node.ref);
    nl_getslot(R, -1, NL_CALLABLE);
    if (lua_istable(R, -1))
        lua_rawgeti(R, -1, 1);
    if (lua_isfunction(R, -1)) {
        lua_getinfo(R, ">S", &ar);
        add(to, ", which calls the function of %s:%d", ar.short_src, ar.linedefined);
    }
    lua_settop(R, top);
    add(to, "\n");
}

static void add_handle(lines *to, nl_state *st, const nl_handle *h) {
    int64_t when = h->handle != NULL ? neap_handle_when(h->handle) : -1;
    if (h->event != 0)
        add(to, "a %s of descriptor %d", h->event == NEAP_READ ? "reader" : "writer", (int)h->fd);
    else if (when >= 0)
        add(to, "a timer for %g s", (double)when / 1e9);
    else
        add(to, "a callback");
    add_callee(to, st, h);
}

/* handles(loop): callbacks that are to come. */
static int handles(lua_State *L) {
    nl_state *st = NL_STATE(L);
    const nl_loop *l = nl_check_loop(L, st, 1);
    lines to = {0};
    for (nl_node *node = st->nodes; node != NULL; node = node->next) {
        const nl_handle *h = (nl_handle *)node;
        if (node->kind == NL_HANDLE && node->ref >= 0 && h->loop == l->loop)
            add_handle(&to, st, h);
    }
    return push_lines(L, &to);
}

static void add_address(lines *to, const char *before, int32_t code, const neap_addr *addr) {
    char text[160];
    if (code < 0 || neap_addr_format(addr, text, sizeof text) <= 0)
        return;
    add(to, "%s%s", before, text);
}

static void add_sock(lines *to, neap_sock *sock) {
    neap_addr addr;
    neap_fd fd = neap_sock_fd(sock);
    if (fd < 0)
        add(to, "a socket without a descriptor");
    else
        add(to, "descriptor %d", (int)fd);
    add_address(to, ", bound to ", neap_sock_local(sock, &addr), &addr);
    add_address(to, ", connected with ", neap_sock_peer(sock, &addr), &addr);
    add(to, "\n");
}

/* socks(loop): sockets that are not closed. */
static int socks(lua_State *L) {
    nl_state *st = NL_STATE(L);
    const nl_loop *l = nl_check_loop(L, st, 1);
    neap_metrics m = {0};
    lines to = {0};
    uint64_t known = 0;
    for (nl_node *node = st->nodes; node != NULL; node = node->next) {
        neap_sock *sock = node->kind == NL_SOCK ? ((nl_sock *)node)->sock : NULL;
        if (sock == NULL || neap_sock_loop(sock) != l->loop || neap_sock_fd(sock) == NEAP_ECLOSED)
            continue;
        add_sock(&to, sock);
        known++;
    }
    neap_loop_metrics(l->loop, &m, sizeof m);
    for (; known < m.socks; known++)
        add(&to, "a socket that no script has\n");
    return push_lines(L, &to);
}

/* ---- What is open in the process ---- */

/* descriptors(): "NUMBER WHAT" of each open one. */
static int descriptors(lua_State *L) {
    lines to = {0};
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char what[128];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, what, sizeof what - 1);
        if (n < 0 || atoi(entry->d_name) == dirfd(dir))
            continue;
        what[n] = '\0';
        add(&to, "%s %s\n", entry->d_name, what);
    }
    if (dir != NULL)
        closedir(dir);
    return push_lines(L, &to);
}

/* ---- An end for what never waits ---- */

static int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A hook that outlives its run takes itself away.  The first error leaves time to clean up; a script that catches it and
   goes on gets one at each instruction. */
static void on_count(lua_State *L, lua_Debug *ar) {
    nl_state *st = nl_state_of(L);
    if (st->limit == 0)
        lua_sethook(L, NULL, 0, 0);
    if (st->limit == 0 || clock_ns() < st->limit)
        return;
    if (st->overran)
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    else
        st->limit = clock_ns() + SLACK_NS;
    st->overran = 1;
    lua_getinfo(L, "Sl", ar);
    nl_throw(L, st, NEAP_ETIMEOUT, "it runs without waiting at %s:%d", ar->short_src,
             ar->currentline);
}

/* A debugger's or profiler's hook stays. */
static void hook(lua_State *L, int on) {
    lua_Hook now = lua_gethook(L);
    if (on && (now == NULL || now == on_count))
        lua_sethook(L, on_count, LUA_MASKCOUNT, COUNT);
    else if (!on && now == on_count)
        lua_sethook(L, NULL, 0, 0);
}

/* Coroutines inherit it from those that make them; those that wait for their next task are made already. */
static void hook_all(lua_State *L, nl_state *st, int on) {
    hook(L, on);
    hook(st->R, on);
    for (int i = 0; i < st->pool_len; i++)
        hook(st->pool[i].L, on);
}

/* ---- Runs ---- */

/* Runs until the future is done, a limit is reached, or the interpreter was interrupted: then its error is on top. */
static int32_t run_within(lua_State *L, nl_loop *l, neap_future *future,
                          const neap_limits *limits) {
    nl_state *st = l->node.st;
    if (!l->attached)
        nl_interrupt_on(st, l->loop);
    int32_t code = NEAP_EINTR;
    while (code == NEAP_EINTR && !nl_interrupted(L, st))
        code = neap_loop_run_within(l->loop, future, limits);
    nl_interrupt_off(st);
    return code;
}

static int32_t run_limited(lua_State *L, nl_loop *l, neap_future *future,
                           const neap_limits *limits) {
    nl_state *st = l->node.st;
    nl_run_begin(L, l, 1, 1);
    /* A script that comes back to its loop is ended there. */
    st->limit = limits->real_ns > 0 ? clock_ns() + limits->real_ns + SLACK_NS : 0;
    st->overran = 0;
    if (st->limit > 0)
        hook_all(L, st, 1);
    int32_t code = run_within(L, l, future, limits);
    hook_all(L, st, 0);
    st->limit = 0;
    st->exiting = 0;
    nl_run_end(L, l, 1);
    return code;
}

/* run(loop, task, seconds, real_seconds): answers nothing when the task has ended in time, else a word, and a text. */
static int run(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    neap_limits limits = {
        .size = sizeof limits, .time_ns = nl_seconds(L, 3), .real_ns = nl_seconds(L, 4)};
    nl_refuse_running(L, st, l);
    nl_task *task = nl_check(L, st, 2, NL_TASK, "a task");
    nl_reach(L, &task->o, 2);
    if (task->co.L != NULL)
        hook(task->co.L, 1);
    neap_future *future = neap_future_ref(nl_check_future(L, st, 2));
    int32_t code = run_limited(L, l, future, &limits);
    neap_future_unref(future);
    if (code == NEAP_EINTR)
        return lua_error(L);
    if (code == 0 && st->overran)
        code = NEAP_ETIMEOUT;
    if (code == 0)
        return 0;
    lua_pushstring(L, code > 0 ? "exit" : neap_err_word(code));
    if (code == NEAP_EDEADLOCK)
        lua_rawgeti(L, LUA_REGISTRYINDEX, st->trail); /* who waits for what */
    else
        lua_pushstring(L, code > 0 ? "the test called neap.exit" : neap_strerror(code));
    return 2;
}

/* settle(loop, real_seconds): lets everything run that can without waiting; answers whether that came to an end. */
static int settle(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    neap_limits limits = {.size = sizeof limits, .real_ns = nl_seconds(L, 2), .ticks = TICKS_AFTER};
    neap_future *blocked;
    nl_refuse_running(L, st, l);
    nl_check_code(L, st, neap_wait_all_blocked(l->loop, 0, &blocked));
    int32_t code = run_limited(L, l, blocked, &limits);
    neap_future_cancel(blocked, NULL);
    neap_future_unref(blocked);
    if (code == NEAP_EINTR)
        return lua_error(L);
    lua_pushboolean(L, code == 0);
    return 1;
}

/* ---- Waiting ---- */

static int blocked_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_woken(L, st);
    nl_wait_end(st->task);
    return 0;
}

static int wait_all_blocked(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int64_t cushion = lua_isnoneornil(L, 1) ? 0 : nl_seconds(L, 1);
    neap_future *future;
    nl_check_wait(L, st);
    neap_loop *loop = neap_future_loop(st->task->o.future);
    nl_check_code(L, st, neap_wait_all_blocked(loop, cushion, &future));
    return nl_park(L, st, future, 1, blocked_end);
}

void nl_open_testing(lua_State *L, nl_state *st) {
    static const luaL_Reg functions[] = {
        {"run", run},     {"settle", settle},           {"tasks", tasks}, {"handles", handles},
        {"socks", socks}, {"descriptors", descriptors}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"wait_all_blocked", wait_all_blocked}, {NULL, NULL}};
    lua_newtable(L);
    nl_functions(L, st, functions);
    nl_waits(L, st, waits);
    lua_setfield(L, -2, "testing");
}
