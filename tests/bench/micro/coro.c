/* coro.c - what bare Lua coroutines cost when C drives them: the floor under every task figure.
 * Built for Lua 5.4 and for LuaJIT. Cases: tasks, sleepers. */
#include "../lua_compat.h"
#include "micro.h"

enum {
    BATCH = 1000
};

static const char *const yielder_source = "local yield = coroutine.yield while true do yield() end";
static const char *const awaiter_source = "local await = ... while true do await() end";

static void push_chunk(lua_State *L, const char *source) {
    if (luaL_loadstring(L, source) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(1);
    }
}

static lua_State *new_state(void) {
    lua_State *L = luaL_newstate();
    if (L == NULL)
        exit(1);
    luaL_openlibs(L);
    return L;
}

/* The coroutine stays in the registry, as a task's thread does. */
static lua_State *new_coroutine(lua_State *L, int function) {
    lua_State *co = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, function);
    lua_xmove(L, co, 1);
    return co;
}

static void measure_switch(const char *name, size_t tasks, size_t switches) {
    lua_State *L = new_state();
    lua_State **co = calloc(tasks, sizeof(*co));
    push_chunk(L, yielder_source);
    for (size_t i = 0; i < tasks; i++) {
        co[i] = new_coroutine(L, 1);
        bench_resume(co[i], L, 0);
    }
    size_t rounds = switches / tasks + 1;
    uint64_t start = micro_cpu_ns();
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < tasks; i++)
            bench_resume(co[i], L, 0);
    micro_print(name, (double)(micro_cpu_ns() - start) / (double)(rounds * tasks));
    free(co);
    lua_close(L);
}

static void measure_spawn_new(size_t count) {
    lua_State *L = new_state();
    lua_State *co[BATCH];
    int ref[BATCH];
    push_chunk(L, "return");
    uint64_t start = micro_cpu_ns();
    for (size_t r = 0; r < count / BATCH + 1; r++) {
        for (int i = 0; i < BATCH; i++) {
            co[i] = lua_newthread(L);
            ref[i] = luaL_ref(L, LUA_REGISTRYINDEX);
            lua_pushvalue(L, 1);
            lua_xmove(L, co[i], 1);
        }
        for (int i = 0; i < BATCH; i++) {
            bench_resume(co[i], L, 0);
            luaL_unref(L, LUA_REGISTRYINDEX, ref[i]);
        }
    }
    micro_print("spawn_finish_ns",
                (double)(micro_cpu_ns() - start) / (double)((count / BATCH + 1) * BATCH));
    lua_close(L);
}

/* A coroutine that returned takes the next function on the same lua_State. */
static void measure_spawn_reused(size_t count) {
    lua_State *L = new_state();
    lua_State *co[BATCH];
    push_chunk(L, "return");
    for (int i = 0; i < BATCH; i++) {
        co[i] = lua_newthread(L);
        luaL_ref(L, LUA_REGISTRYINDEX);
    }
    uint64_t start = micro_cpu_ns();
    for (size_t r = 0; r < count / BATCH + 1; r++) {
        for (int i = 0; i < BATCH; i++) {
            lua_pushvalue(L, 1);
            lua_xmove(L, co[i], 1);
        }
        for (int i = 0; i < BATCH; i++)
            bench_resume(co[i], L, 0);
    }
    micro_print("spawn_finish_pooled_ns",
                (double)(micro_cpu_ns() - start) / (double)((count / BATCH + 1) * BATCH));
    lua_close(L);
}

/* --- a hop: a future is made, awaited, resolved; its waiter goes through a ready ring --- */

struct ring_future {
    int value;
    int done;
};

static struct ring_future *awaited;

static int await(lua_State *L) {
    struct ring_future *f = lua_newuserdata(L, sizeof(*f));
    f->done = 0;
    awaited = f;
    return lua_yield(L, 1);
}

static void measure_hop(size_t count) {
    enum {
        RING = 64
    };
    lua_State *ring[RING];
    lua_State *L = new_state();
    push_chunk(L, awaiter_source);
    lua_State *co = new_coroutine(L, 1);
    lua_pushcfunction(co, await);
    bench_resume(co, L, 1);
    unsigned head = 0;
    unsigned tail = 0;
    uint64_t start = micro_cpu_ns();
    for (size_t i = 0; i < count; i++) {
        awaited->value = (int)i;
        awaited->done = 1;
        ring[tail++ % RING] = co;
        lua_State *ready = ring[head++ % RING];
        lua_settop(ready, 0);
        lua_pushinteger(ready, awaited->value);
        bench_resume(ready, L, 1);
    }
    micro_print("hop_ns", (double)(micro_cpu_ns() - start) / (double)count);
    lua_close(L);
}

static void measure_sleepers(size_t count) {
    lua_State *L = new_state();
    push_chunk(L, yielder_source);
    lua_gc(L, LUA_GCCOLLECT, 0);
    uint64_t before = micro_rss_bytes();
    for (size_t i = 0; i < count; i++)
        bench_resume(new_coroutine(L, 1), L, 0);
    micro_print("sleeping_task_bytes", (double)(micro_rss_bytes() - before) / (double)count);
    lua_close(L);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "sleepers") == 0) {
        measure_sleepers(micro_scaled(argc, argv, 100000));
    } else {
        size_t count = micro_scaled(argc, argv, 2000000);
        measure_switch("switch_1_ns", 1, count);
        measure_switch("switch_1000_ns", 1000, count);
        measure_switch("switch_100000_ns", 100000, count);
        measure_spawn_new(count / 4);
        measure_spawn_reused(count);
        measure_hop(count);
    }
    micro_end();
    return 0;
}
