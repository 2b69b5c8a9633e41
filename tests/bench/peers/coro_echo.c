/* coro_echo.c - the ideal: the reference's loop resuming one bare Lua coroutine per connection.
 *
 * The handler is the one that a neap script has (recv, sendall in a loop); everything that a
 * runtime adds around it is missing: no tasks, no futures, no cancellation, no error objects. What
 * a runtime costs is what it needs beyond this program. Built for Lua 5.4 and for LuaJIT. */
#include "../lua_compat.h"
#include "peer.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256
};

struct conn {
    int fd;  /* -1 once closed */
    int ref; /* keeps the coroutine, which keeps the userdata that this struct is in */
    lua_State *co;
    const char *rest; /* what sendall has still to send; the string is on the coroutine's stack */
    size_t rest_len;
};

static const char handler[] = "local conn = ...\n"
                              "while true do\n"
                              "  local data = conn:recv(65536)\n"
                              "  if not data then break end\n"
                              "  if not conn:sendall(data) then break end\n"
                              "end\n"
                              "conn:close()\n";

static int epoll_fd;

static void watch(int op, struct conn *c, uint32_t events) {
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, op, c->fd, &ev) != 0)
        peer_die("epoll_ctl");
}

static struct conn *check_conn(lua_State *L) {
    return luaL_checkudata(L, 1, "conn");
}

/* Waits first: under load the bytes are seldom there yet, and a failed recv costs a system call. */
static int conn_recv(lua_State *L) {
    check_conn(L);
    return lua_yield(L, 0);
}

static int conn_sendall(lua_State *L) {
    struct conn *c = check_conn(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
    if (n == (ssize_t)len) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (n < 0 && errno != EAGAIN)
        return 0;
    n = n < 0 ? 0 : n;
    c->rest = data + n;
    c->rest_len = len - (size_t)n;
    watch(EPOLL_CTL_MOD, c, EPOLLOUT);
    return lua_yield(L, 0);
}

static int conn_close(lua_State *L) {
    struct conn *c = check_conn(L);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    return 0;
}

static void resume(lua_State *L, struct conn *c, int nargs) {
    int status = bench_resume(c->co, L, nargs);
    if (status == LUA_YIELD)
        return;
    if (status != 0)
        fprintf(stderr, "handler: %s\n", lua_tostring(c->co, -1));
    if (c->fd >= 0)
        close(c->fd);
    luaL_unref(L, LUA_REGISTRYINDEX, c->ref);
}

static void on_readable(lua_State *L, struct conn *c) {
    char buf[PEER_CHUNK];
    ssize_t n = recv(c->fd, buf, sizeof(buf), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        lua_pushlstring(c->co, buf, (size_t)n);
    else
        lua_pushnil(c->co);
    resume(L, c, 1);
}

static void on_writable(lua_State *L, struct conn *c) {
    ssize_t n = send(c->fd, c->rest, c->rest_len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n >= 0 && (size_t)n < c->rest_len) {
        c->rest += n;
        c->rest_len -= (size_t)n;
        return;
    }
    c->rest = NULL;
    watch(EPOLL_CTL_MOD, c, EPOLLIN);
    lua_pushboolean(c->co, n >= 0);
    resume(L, c, 1);
}

static void on_acceptable(lua_State *L, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        peer_nodelay(fd);
        lua_State *co = lua_newthread(L);
        int ref = luaL_ref(L, LUA_REGISTRYINDEX);
        lua_pushvalue(L, 1); /* the handler */
        lua_xmove(L, co, 1);
        struct conn *c = lua_newuserdata(co, sizeof(*c));
        *c = (struct conn){.fd = fd, .ref = ref, .co = co};
        luaL_getmetatable(co, "conn");
        lua_setmetatable(co, -2);
        watch(EPOLL_CTL_ADD, c, EPOLLIN);
        resume(L, c, 1);
    }
}

static void make_class(lua_State *L) {
    static const struct {
        const char *name;
        lua_CFunction fn;
    } methods[] = {{"recv", conn_recv}, {"sendall", conn_sendall}, {"close", conn_close}};
    luaL_newmetatable(L, "conn");
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        lua_pushcfunction(L, methods[i].fn);
        lua_setfield(L, -2, methods[i].name);
    }
    lua_setfield(L, -2, "__index");
    lua_settop(L, 0);
}

int main(void) {
    struct epoll_event events[EVENTS_MAX];
    peer_raise_descriptor_limit();
    lua_State *L = luaL_newstate();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (L == NULL || epoll_fd < 0)
        peer_die("start");
    luaL_openlibs(L);
    make_class(L);
    if (luaL_loadstring(L, handler) != 0)
        peer_die("handler");
    int listener = peer_listen();
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev) != 0)
        peer_die("epoll_ctl");
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL)
                on_acceptable(L, listener);
            else if (c->rest != NULL)
                on_writable(L, c);
            else
                on_readable(L, c);
        }
    }
}
