/* ring.c - what any runtime in Lua has to do, and nothing else: no errors, no cancellation, no
 * values but integers, no kernel but for the one sleep of the stall script. */
#include "../lua_compat.h"
#include "micro.h"
#include "ring.h"

enum {
    RING = 1 << 17 /* more than any script has ready at a time */
};

struct entry {
    lua_State *co;
    lua_Integer value; /* what the resumed function returns */
};

struct ring_future {
    lua_State *waiter;
    lua_Integer value;
    int done;
};

static struct entry ring[RING];
static unsigned head;
static unsigned tail;
static lua_State *sleeper; /* the one that sleeps for less than a minute */
static uint64_t wake_ns;

static void make_ready(lua_State *co, lua_Integer value) {
    ring[tail++ % RING] = (struct entry){co, value};
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Compares the metatable with the one in the function's upvalue: the cheapest check there is. */
static struct ring_future *check_future(lua_State *L) {
    struct ring_future *f = lua_touserdata(L, 1);
    if (f == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1)))
        luaL_error(L, "not a future");
    lua_pop(L, 1);
    return f;
}

static int future_new(lua_State *L) {
    struct ring_future *f = lua_newuserdata(L, sizeof(*f));
    *f = (struct ring_future){0};
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setmetatable(L, -2);
    return 1;
}

static int future_await(lua_State *L) {
    struct ring_future *f = check_future(L);
    if (f->done) {
        lua_pushinteger(L, f->value);
        return 1;
    }
    f->waiter = L;
    return lua_yield(L, 0);
}

static int future_set_result(lua_State *L) {
    struct ring_future *f = check_future(L);
    f->value = luaL_checkinteger(L, 2);
    f->done = 1;
    if (f->waiter != NULL)
        make_ready(f->waiter, f->value);
    return 0;
}

static int future_done(lua_State *L) {
    lua_pushboolean(L, check_future(L)->done);
    return 1;
}

static int ring_yield(lua_State *L) {
    make_ready(L, 0);
    return lua_yield(L, 0);
}

/* The thread stays in the registry, as a task's does. */
static int ring_spawn(lua_State *L) {
    int nargs = lua_gettop(L);
    lua_State *co = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    lua_xmove(L, co, nargs);
    make_ready(co, -nargs); /* not started: the value is the number of arguments */
    return 0;
}

static int ring_sleep(lua_State *L) {
    double seconds = luaL_checknumber(L, 1);
    if (seconds < 60) {
        sleeper = L;
        wake_ns = now_ns() + (uint64_t)(seconds * 1e9);
    }
    return lua_yield(L, 0);
}

static int ring_time(lua_State *L) {
    lua_pushnumber(L, (double)now_ns() / 1e9);
    return 1;
}

static void resume(lua_State *L, struct entry e) {
    int status;
    if (lua_status(e.co) == 0) {
        status = bench_resume(e.co, L, (int)-e.value - 1);
    } else {
        lua_settop(e.co, 0);
        lua_pushinteger(e.co, e.value);
        status = bench_resume(e.co, L, 1);
    }
    if (status != 0 && status != LUA_YIELD) {
        fprintf(stderr, "%s\n", lua_tostring(e.co, -1));
        exit(1);
    }
}

static void sleep_until(uint64_t deadline_ns) {
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                         .tv_nsec = (long)(deadline_ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void run(lua_State *L) {
    while (head != tail || sleeper != NULL) {
        while (head != tail)
            resume(L, ring[head++ % RING]);
        if (sleeper != NULL) {
            lua_State *co = sleeper;
            sleeper = NULL;
            sleep_until(wake_ns);
            resume(L, (struct entry){co, 0});
        }
    }
}

static void set_function(lua_State *L, const char *name, lua_CFunction fn, int metatable) {
    lua_pushvalue(L, metatable);
    lua_pushcclosure(L, fn, 1);
    lua_setfield(L, -2, name);
}

/* Leaves the table of the ring's functions on the stack. */
static void push_functions(lua_State *L) {
    lua_newtable(L); /* the metatable of futures, in reach of each function */
    int metatable = lua_gettop(L);
    lua_newtable(L);
    set_function(L, "await", future_await, metatable);
    set_function(L, "set_result", future_set_result, metatable);
    set_function(L, "done", future_done, metatable);
    lua_setfield(L, metatable, "__index");
    lua_newtable(L);
    set_function(L, "future", future_new, metatable);
    set_function(L, "yield", ring_yield, metatable);
    set_function(L, "spawn", ring_spawn, metatable);
    set_function(L, "sleep", ring_sleep, metatable);
    set_function(L, "time", ring_time, metatable);
    lua_remove(L, metatable);
}

static void set_globals(lua_State *L, const char *folder, char **argv) {
    lua_newtable(L);
    for (int i = 0; argv[i] != NULL; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
    lua_getglobal(L, "package");
    lua_pushfstring(L, "%s/?.lua", folder);
    lua_setfield(L, -2, "path");
    lua_pop(L, 1);
}

void ring_run(const char *folder, const char *script, size_t count, char **argv) {
    char path[4096];
    lua_State *L = luaL_newstate();
    if (L == NULL)
        exit(1);
    luaL_openlibs(L);
    set_globals(L, folder, argv);
    snprintf(path, sizeof(path), "%s/%s", folder, script);
    if (luaL_loadfile(L, path) != 0 || lua_pcall(L, 0, 1, 0) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(1);
    }
    lua_State *main = lua_newthread(L);
    lua_insert(L, -2);
    lua_xmove(L, main, 1);
    push_functions(main);
    lua_pushinteger(main, (lua_Integer)count);
    make_ready(main, -3);
    run(L);
    lua_close(L);
}
