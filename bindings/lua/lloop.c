/* lloop.c: the loop object: making, finding, running and closing loops. */
#include "lneap.h"

#include <stdlib.h>
#include <string.h>

/* ---- Staying alive ---- */

/* Keeps the userdata at `ud` while the loop runs, is closed, or is the state's. */
static void hold(lua_State *L, nl_loop *l, int ud) {
    if (l->holds == 0) {
        lua_pushvalue(L, ud);
        l->node.ref = nl_anchor(L, l->node.st);
    }
    l->holds++;
}

static void release(nl_loop *l) {
    if (--l->holds > 0)
        return;
    nl_unanchor(l->node.st, l->node.ref);
    l->node.ref = LUA_NOREF;
}

/* Pushes the userdata of a held loop. */
void nl_push_loop(lua_State *L, nl_loop *l) {
    nl_anchored(L, l->node.ref);
}

/* Makes the loop at `ud` (or none: l NULL) the state's. */
void nl_set_loop(lua_State *L, nl_state *st, nl_loop *l, int ud) {
    nl_loop *old = st->loop;
    if (l != NULL)
        hold(L, l, ud);
    st->loop = l;
    if (old != NULL)
        release(old);
}

/* ---- Making ---- */

/* Pushes the userdata of a loop that is still to come. */
nl_loop *nl_new_loop(lua_State *L, nl_state *st) {
    return nl_make(L, st, NL_LOOP, sizeof(nl_loop), 2);
}

/* It is there: takes the reference. */
void nl_loop_begin(nl_loop *l, neap_loop *loop) {
    l->loop = loop;
    l->next = l->node.st->loops;
    l->node.st->loops = l;
}

static void flag(lua_State *L, int options, const char *name, uint32_t bit, uint32_t *flags) {
    lua_getfield(L, options, name);
    if (lua_toboolean(L, -1))
        *flags |= bit;
    lua_pop(L, 1);
}

/* Pushes a string option, which stays on the stack while it is used. */
static const char *text_option(lua_State *L, nl_state *st, int options, const char *name) {
    lua_getfield(L, options, name);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
        nl_throw(L, st, NEAP_ETYPE, "the option '%s' must be a string", name);
    return lua_tostring(L, -1);
}

static double number_option(lua_State *L, nl_state *st, int options, const char *name) {
    lua_getfield(L, options, name);
    if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
        nl_throw(L, st, NEAP_ETYPE, "the option '%s' must be a number", name);
    double value = (double)lua_tonumber(L, -1);
    lua_pop(L, 1);
    return value;
}

/* What only tests want. */
static void test_options(lua_State *L, nl_state *st, int options, neap_loop_options *o) {
    const double most = 9007199254740992.0; /* 2^53 */
    double seed = number_option(L, st, options, "shuffle_seed");
    if (!(seed >= 0 && seed <= most))
        nl_throw(L, st, NEAP_EVALUE, "the option 'shuffle_seed' must be between 0 and 2^53");
    o->shuffle_seed = (uint64_t)seed;
    lua_getfield(L, options, "settle");
    if (!lua_isnil(L, -1)) {
        int64_t settle = nl_seconds(L, lua_gettop(L));
        o->settle_ns = settle > 0 ? settle : -1;
    }
    lua_pop(L, 1);
}

/* Pushes a new loop as the table at `options` (0: none) and NEAP_BACKEND want it. */
nl_loop *nl_make_loop(lua_State *L, nl_state *st, int options) {
    neap_loop_options o;
    neap_loop *loop;
    if (st->closed)
        nl_throw_code(L, st, NEAP_ELOOP_CLOSED);
    memset(&o, 0, sizeof o);
    o.size = sizeof o;
    o.flags = NEAP_LOOP_EINTR;
    int top = lua_gettop(L);
    if (options != 0) {
        flag(L, options, "virtual", NEAP_LOOP_VIRTUAL_CLOCK, &o.flags);
        flag(L, options, "debug", NEAP_LOOP_DEBUG, &o.flags);
        test_options(L, st, options, &o);
        o.backend = text_option(L, st, options, "backend");
        o.name = text_option(L, st, options, "name");
    }
    if (o.backend == NULL)
        o.backend = getenv("NEAP_BACKEND");
    if (o.backend != NULL && *o.backend == '\0')
        o.backend = NULL;
    nl_loop *l = nl_new_loop(L, st);
    int32_t code = neap_loop_new(&o, &loop);
    if (code == NEAP_ENOTSUP && o.backend != NULL)
        nl_throw(L, st, code, "this machine has no backend '%s'", o.backend);
    nl_check_code(L, st, code);
    nl_loop_begin(l, loop);
    nl_hook_reports(l);
    nl_idle_on(l);
    lua_insert(L, top + 1);
    lua_settop(L, top + 1);
    return l;
}

static int new_loop(lua_State *L) {
    static const char *const names[] = {"virtual",      "debug",  "backend", "name",
                                        "shuffle_seed", "settle", NULL};
    nl_state *st = NL_STATE(L);
    lua_settop(L, 1);
    if (!lua_isnil(L, 1) && !lua_istable(L, 1))
        nl_type_error(L, st, 1, "a table of options");
    if (!lua_isnil(L, 1))
        nl_check_options(L, st, 1, names);
    nl_make_loop(L, st, lua_isnil(L, 1) ? 0 : 1);
    return 1;
}

/* ---- Finding ---- */

nl_loop *nl_find_loop(nl_state *st, neap_loop *loop) {
    for (nl_loop *l = st->loops; l != NULL; l = l->next)
        if (l->loop == loop)
            return l;
    return NULL;
}

/* The loop of the running task, else the running one, else the state's, which is made when it is first needed. */
nl_loop *nl_loop_now(lua_State *L, nl_state *st) {
    nl_loop *l = st->task != NULL ? nl_find_loop(st, neap_future_loop(st->task->o.future)) : NULL;
    if (l == NULL)
        l = st->running;
    if (l == NULL && st->loop == NULL) {
        l = nl_make_loop(L, st, 0);
        nl_set_loop(L, st, l, lua_gettop(L));
        lua_pop(L, 1);
    }
    return l != NULL ? l : st->loop;
}

/* A loop that is the receiver of a method: closed ones answer for themselves. */
nl_loop *nl_check_loop(lua_State *L, nl_state *st, int index) {
    nl_loop *l = nl_check(L, st, index, NL_LOOP, "a loop");
    if (l->loop == NULL)
        nl_throw_code(L, st, NEAP_ELOOP_CLOSED);
    return l;
}

static int get_loop(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_loop_now(L, st);
    nl_push_loop(L, l);
    return 1;
}

static nl_loop *self(lua_State *L) {
    return nl_check_loop(L, NL_STATE(L), 1);
}

/* ---- Running ---- */

/* Raises if the loop cannot run now. */
void nl_refuse_running(lua_State *L, nl_state *st, nl_loop *l) {
    if (l != NULL && neap_loop_is_closed(l->loop))
        nl_throw_code(L, st, NEAP_ELOOP_CLOSED);
    if ((l != NULL && l == st->running) || (l != NULL && neap_loop_is_running(l->loop)))
        nl_throw_code(L, st, NEAP_ELOOP_RUNNING);
    if (st->running != NULL)
        nl_throw_code(L, st, NEAP_EOTHER_LOOP_RUNNING);
}

void nl_run_begin(lua_State *L, nl_loop *l, int ud, int patch) {
    hold(L, l, ud);
    if (patch)
        nl_patch(L, l->node.st);
    l->node.st->running = l;
}

void nl_run_end(lua_State *L, nl_loop *l, int patch) {
    nl_state *st = l->node.st;
    st->running = NULL;
    nl_drop_failures(st);
    nl_forget_recent(st);
    nl_tidy(st);
    if (patch)
        nl_unpatch(st);
    release(l);
    nl_back(L);
}

/* Runs the loop until it is stopped, or until `until` is done if that is given.  NEAP_EINTR: the interpreter was
   interrupted, its error is on top; not looked for where a host runs the process or the run has its own signals. */
int32_t nl_run_loop(lua_State *L, nl_loop *l, neap_future *until, int interrupts) {
    nl_state *st = l->node.st;
    if (interrupts && !l->attached)
        nl_interrupt_on(st, l->loop);
    int32_t code = NEAP_EINTR;
    while (code == NEAP_EINTR && !nl_interrupted(L, st))
        code = until != NULL ? neap_loop_run_until(l->loop, until) : neap_loop_run(l->loop);
    nl_interrupt_off(st);
    return code;
}

/* What a run that did not end by itself raises. */
int nl_run_answer(lua_State *L, nl_state *st, int32_t code) {
    if (code == NEAP_EDEADLOCK) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, st->trail); /* who waits for what */
        return nl_throw(L, st, code, "%s",
                        lua_isstring(L, -1) ? lua_tostring(L, -1) : neap_strerror(code));
    }
    if (code < 0)
        return nl_throw_code(L, st, code);
    if (code == NL_RAISE_EXIT) {
        st->exiting = 0;
        lua_pushinteger(L, st->exit_status);
        return 1;
    }
    return 0;
}

static int loop_run_forever(lua_State *L) {
    nl_loop *l = self(L);
    nl_state *st = l->node.st;
    nl_refuse_running(L, st, l);
    nl_run_begin(L, l, 1, 1);
    int32_t code = nl_run_loop(L, l, NULL, 1);
    nl_run_end(L, l, 1);
    return code == NEAP_EINTR ? lua_error(L) : nl_run_answer(L, st, code);
}

static int loop_run_until_complete(lua_State *L) {
    nl_loop *l = self(L);
    nl_state *st = l->node.st;
    lua_settop(L, 2);
    nl_refuse_running(L, st, l);
    nl_ensure(L, st, l, 2);
    nl_reach(L, nl_check_object(L, st, 2), 2);
    nl_check_future(L, st, 2);
    nl_run_begin(L, l, 1, 1);
    neap_future *future = neap_future_ref(nl_check_future(L, st, 2));
    int32_t code = nl_run_loop(L, l, future, 1);
    neap_future_unref(future);
    nl_run_end(L, l, 1);
    if (code == NEAP_EINTR)
        return lua_error(L);
    if (code != 0)
        return nl_run_answer(L, st, code);
    return nl_push_result(L, st, 2);
}

/* One tick that waits for something to happen, or at most so many seconds. */
static int loop_run_once(lua_State *L) {
    nl_loop *l = self(L);
    nl_state *st = l->node.st;
    int64_t timeout = lua_isnoneornil(L, 2) ? -1 : nl_seconds(L, 2);
    nl_refuse_running(L, st, l);
    nl_run_begin(L, l, 1, 1);
    if (!l->attached)
        nl_interrupt_on(st, l->loop);
    int32_t code = neap_loop_run_once(l->loop, timeout == NL_NEVER ? -1 : timeout);
    nl_interrupt_off(st);
    nl_run_end(L, l, 1);
    if (code == NEAP_EINTR && nl_interrupted(L, st))
        return lua_error(L);
    nl_check_code(L, st, code == NEAP_EINTR ? 0 : code);
    lua_pushinteger(L, code > 0 ? code : 0);
    return 1;
}

static int loop_stop(lua_State *L) {
    nl_loop *l = self(L);
    nl_check_code(L, l->node.st, neap_loop_stop(l->loop));
    return 0;
}

/* ---- Closing ---- */

/* Closes the loop at `ud`: sockets and tasks end, what fails is reported. */
int32_t nl_close_loop(lua_State *L, nl_loop *l, int ud) {
    nl_state *st = l->node.st;
    hold(L, l, ud);
    int32_t code = neap_loop_close(l->loop, 0);
    if (code >= 0) {
        nl_drop_failures(st);
        nl_tidy(st);
        if (st->loop == l)
            nl_set_loop(L, st, NULL, 0);
    }
    release(l);
    nl_back(L);
    return code;
}

static int loop_close(lua_State *L) {
    nl_loop *l = self(L);
    if (l->attached)
        return nl_throw(L, l->node.st, NEAP_EINVALID_STATE,
                        "the loop belongs to the host, which closes it");
    nl_check_code(L, l->node.st, nl_close_loop(L, l, 1));
    return 0;
}

void nl_loop_drop(nl_loop *l) {
    neap_loop *loop = l->loop;
    nl_loop **at = &l->node.st->loops;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    nl_trace_stop(l);
    if (l->hooked)
        neap_loop_set_error_hook(loop, NULL, NULL, NULL);
    if (!l->attached)
        neap_loop_close(loop, NEAP_CLOSE_SILENT);
    l->loop = NULL;
    if (!neap_loop_is_running(loop)) /* os.exit inside a step: nobody comes back to it */
        neap_loop_unref(loop);
}

/* At the end of the state loops go after what is on them: see nl_closing. */
static void drop(nl_node *node) {
    nl_loop *l = (nl_loop *)node;
    if (l->loop != NULL && !node->st->closed)
        nl_loop_drop(l);
}

static int loop_gc(lua_State *L) {
    nl_loop *l = nl_finalized(L);
    if (l == NULL)
        return 0;
    nl_state *st = l->node.st;
    if (l->holds > 0) {
        nl_closing(st);
    } else {
        nl_drop(L, &l->node);
        nl_tidy(st);
    }
    return 0;
}

/* ---- The rest ---- */

static int loop_time(lua_State *L) {
    lua_pushnumber(L, (lua_Number)neap_loop_time(self(L)->loop) / 1e9);
    return 1;
}

static int loop_advance(lua_State *L) {
    nl_loop *l = self(L);
    nl_check_code(L, l->node.st, neap_loop_advance(l->loop, nl_seconds(L, 2)));
    return 0;
}

static int loop_create_future(lua_State *L) {
    nl_loop *l = self(L);
    nl_new_future(L, l->node.st, l);
    return 1;
}

static int loop_create_task(lua_State *L) {
    nl_loop *l = self(L);
    return nl_spawn_call(L, l->node.st, l, 2);
}

static int loop_is_running(lua_State *L) {
    lua_pushboolean(L, neap_loop_is_running(self(L)->loop));
    return 1;
}

static int loop_is_closed(lua_State *L) {
    lua_pushboolean(L, neap_loop_is_closed(self(L)->loop));
    return 1;
}

static int loop_name(lua_State *L) {
    lua_pushstring(L, neap_loop_name(self(L)->loop));
    return 1;
}

static int loop_backend(lua_State *L) {
    lua_pushstring(L, neap_loop_backend(self(L)->loop));
    return 1;
}

static int loop_tostring(lua_State *L) {
    nl_loop *l = self(L);
    const char *state = neap_loop_is_closed(l->loop)    ? "closed"
                        : neap_loop_is_running(l->loop) ? "running"
                                                        : "idle";
    lua_pushfstring(L, "neap.loop: %s (%s)", neap_loop_name(l->loop), state);
    return 1;
}

void nl_open_loop(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {
        {"__tostring", loop_tostring}, {"__gc", loop_gc}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"run_forever", loop_run_forever},
        {"run_until_complete", loop_run_until_complete},
        {"run_once", loop_run_once},
        {"stop", loop_stop},
        {"close", loop_close},
        {"time", loop_time},
        {"advance", loop_advance},
        {"create_future", loop_create_future},
        {"create_task", loop_create_task},
        {"is_running", loop_is_running},
        {"is_closed", loop_is_closed},
        {"name", loop_name},
        {"backend", loop_backend},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"new_loop", new_loop}, {"loop", get_loop}, {NULL, NULL}};
    lua_getfield(L, -1, "methods"); /* neap/protocol.lua adds to them */
    st->drops[NL_LOOP] = drop;
    nl_class(L, st, NL_LOOP, "neap.loop", methods, NULL, metas);
    nl_functions(L, st, nl_handle_calls);
    nl_functions(L, st, nl_watch_calls);
    nl_functions(L, st, nl_trace_calls);
    nl_functions(L, st, nl_report_calls);
    nl_functions(L, st, nl_sock_futures);
    nl_functions(L, st, nl_pool_calls);
    nl_functions(L, st, nl_name_futures);
    lua_setfield(L, -2, "loop");
    lua_pop(L, 1);
    nl_functions(L, st, functions);
}
