/* coro.c - what bare Lua coroutines cost when C drives them: the floor under every task figure.
 * Built for Lua 5.4 and for LuaJIT. Cases: spawn, switch, futures, sleepers, stall; futures and
 * stall are neap's own scripts on a bare ring (ring.c). */
#include "../lua_compat.h"
#include "micro.h"
#include "ring.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    BATCH = 1000
};

static const char *const yielder_source = "local yield = coroutine.yield while true do yield() end";

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

/* An epoll with a listening socket that nobody connects to. */
static int park_socket(void) {
    struct epoll_event ev = {.events = EPOLLIN};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0 || listen(fd, 1) != 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
        perror("parked socket");
        exit(1);
    }
    return epoll_fd;
}

/* With a parked socket (epoll_fd >= 0) each turn looks at the kernel, as a loop has to. */
static void measure_switch(const char *name, size_t tasks, size_t switches, int epoll_fd) {
    struct epoll_event event;
    lua_State *L = new_state();
    lua_State **co = calloc(tasks, sizeof(*co));
    push_chunk(L, yielder_source);
    for (size_t i = 0; i < tasks; i++) {
        co[i] = new_coroutine(L, 1);
        bench_resume(co[i], L, 0);
    }
    size_t rounds = switches / tasks + 1;
    uint64_t start = micro_cpu_ns();
    for (size_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < tasks; i++)
            bench_resume(co[i], L, 0);
        if (epoll_fd >= 0)
            epoll_wait(epoll_fd, &event, 1, 0);
    }
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

static void measure_switches(size_t count, size_t many) {
    int epoll_fd = park_socket();
    measure_switch("switch_1_ns", 1, count, -1);
    measure_switch("switch_1000_ns", 1000, count, -1);
    measure_switch("switch_100000_ns", many, count, -1);
    measure_switch("switch_1_parked_ns", 1, count / 4, epoll_fd);
    measure_switch("switch_1000_parked_ns", 1000, count, epoll_fd);
    measure_switch("switch_100000_parked_ns", many, count, epoll_fd);
}

int main(int argc, char **argv) {
    size_t count = micro_scaled(argc, argv, 2000000);
    size_t many = micro_scaled(argc, argv, 100000);
    if (micro_case(argc, argv, "spawn")) {
        measure_spawn_new(count / 4);
        measure_spawn_reused(count);
    } else if (micro_case(argc, argv, "switch")) {
        measure_switches(count, many);
    } else if (micro_case(argc, argv, "futures")) {
        ring_run(BENCH_MICRO, "futures.lua", count / 2, argv);
        return 0;
    } else if (micro_case(argc, argv, "stall")) {
        ring_run(BENCH_MICRO, "stall.lua", many / 2, argv);
        return 0;
    } else if (micro_case(argc, argv, "sleepers")) {
        measure_sleepers(many);
    } else {
        micro_unknown_case(argv[0]);
    }
    micro_end();
    return 0;
}
