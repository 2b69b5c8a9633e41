/* lprocess.c: the handle of a child process, which neap/process.lua builds on. */
#include "lneap.h"

#include <unistd.h>

typedef struct nl_process {
    nl_node node;
    neap_process *process; /* a reference, or NULL */
} nl_process;

/* Pushes a handle without a process; answers where that goes, so that none is lost when memory is out. */
neap_process **nl_new_process(lua_State *L, nl_state *st) {
    nl_process *p = nl_make(L, st, NL_PROCESS, sizeof *p, 0);
    return &p->process;
}

static neap_process *self(lua_State *L) {
    nl_process *p = nl_check(L, NL_STATE(L), 1, NL_PROCESS, "a process");
    if (p->process == NULL)
        nl_throw_code(L, p->node.st, NEAP_ECLOSED);
    return p->process;
}

/* How it ended, as os.execute answers it, and the name of a signal. */
static int push_status(lua_State *L, const neap_process_status *s) {
    if (s->how == NEAP_EXITED && s->code == 0)
        lua_pushboolean(L, 1);
    else
        lua_pushnil(L);
    if (s->how == NEAP_EXIT_UNKNOWN) {
        lua_pushliteral(L, "unknown");
        return 2;
    }
    lua_pushstring(L, s->how == NEAP_EXITED ? "exit" : "signal");
    lua_pushinteger(L, s->code);
    if (s->how == NEAP_EXITED)
        return 3;
    nl_push_signal(L, s->code);
    return 4;
}

/* Nothing while it runs. */
static int process_status(lua_State *L) {
    neap_process_status s;
    int32_t code = neap_process_get_status(self(L), &s, sizeof s);
    if (code == NEAP_EPENDING)
        return 0;
    nl_check_code(L, NL_STATE(L), code);
    return push_status(L, &s);
}

static int wait_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_future_error(nl_woken(L, st));
    nl_wait_end(st->task);
    nl_check_code(L, st, code);
    return process_status(L);
}

static int process_wait(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_process *process = self(L);
    neap_future *future = NULL;
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, process_wait);
    int32_t code = neap_process_wait(process, &future);
    if (code == NEAP_PENDING)
        return nl_park(L, st, future, 1, wait_end);
    nl_check_code(L, st, code);
    return process_status(L);
}

/* What it has used, once it has ended: processor times in seconds, memory in bytes. */
static int process_usage(lua_State *L) {
    neap_process_status s;
    int32_t code = neap_process_get_status(self(L), &s, sizeof s);
    if (code == NEAP_EPENDING)
        return 0;
    nl_check_code(L, NL_STATE(L), code);
    lua_createtable(L, 0, 4);
    lua_pushnumber(L, (lua_Number)s.user_ns / 1e9);
    lua_setfield(L, -2, "user");
    lua_pushnumber(L, (lua_Number)s.system_ns / 1e9);
    lua_setfield(L, -2, "system");
    lua_pushnumber(L, (lua_Number)s.max_rss);
    lua_setfield(L, -2, "max_rss");
    lua_pushboolean(L, s.dumped);
    lua_setfield(L, -2, "dumped");
    return 1;
}

static int answer(lua_State *L, int32_t code) {
    if (code < 0)
        return nl_fail(L, NL_STATE(L), code, "kill", NULL);
    lua_pushboolean(L, 1);
    return 1;
}

static int process_kill(lua_State *L) {
    return answer(L, neap_process_kill(self(L), nl_to_signal(L, NL_STATE(L), 2)));
}

static int process_kill_group(lua_State *L) {
    return answer(L, neap_process_kill_group(self(L), nl_to_signal(L, NL_STATE(L), 2)));
}

static int process_pid(lua_State *L) {
    lua_pushinteger(L, neap_process_pid(self(L)));
    return 1;
}

/* stream(number): over the parent's end of the pipe that is the child's descriptor of that number; nothing if there is none. */
static int process_stream(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_process *process = self(L);
    int32_t number = (int32_t)luaL_checkinteger(L, 2);
    nl_stream *s = nl_new_stream(L, st);
    neap_fd fd = neap_process_take_fd(process, number);
    if (fd == NEAP_EBADF)
        return 0;
    nl_check_code(L, st, fd);
    int32_t code = neap_stream_open(neap_process_loop(process), fd, 0, &s->stream);
    if (code < 0)
        close((int)fd);
    nl_check_code(L, st, code);
    return 1;
}

static void drop(nl_node *node) {
    nl_process *p = (nl_process *)node;
    neap_process *process = p->process;
    p->process = NULL;
    neap_process_unref(process);
}

void nl_open_process(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"wait", process_wait}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"status", process_status},
                                       {"usage", process_usage},
                                       {"kill", process_kill},
                                       {"kill_group", process_kill_group},
                                       {"pid", process_pid},
                                       {"stream", process_stream},
                                       {NULL, NULL}};
    lua_newtable(L);
    nl_functions(L, st, nl_spawn_calls);
    lua_setfield(L, -2, "processes");
    st->drops[NL_PROCESS] = drop;
    nl_class(L, st, NL_PROCESS, "neap.process.handle", methods, waits, metas);
    lua_pop(L, 1);
}
