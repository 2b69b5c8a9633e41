/* lreport.c: failures that nobody awaits: handed to the script's function, or printed. */
#include "lneap.h"

#include <stdio.h>
#include <string.h>

enum {
    ON_ERROR = 1,
    ON_SLOW = 2
};

static const char *const kinds[] = {
    [NEAP_REPORT_CALLBACK] = "callback",   [NEAP_REPORT_UNHANDLED] = "unhandled",
    [NEAP_REPORT_PENDING] = "pending",     [NEAP_REPORT_SLOW] = "slow",
    [NEAP_REPORT_SWALLOWED] = "swallowed", [NEAP_REPORT_ABORTED] = "aborted",
    [NEAP_REPORT_DEADLOCK] = "deadlock",   [NEAP_REPORT_LEFT] = "left",
    [NEAP_REPORT_SHORTAGE] = "shortage",
};

typedef struct reporting {
    nl_loop *l;
    const neap_report *report;
    int own; /* a callback of ours failed: its error is in the registry */
} reporting;

/* ---- The context table, at index 1 ---- */

static void set_text(lua_State *L, const char *name, const char *text) {
    lua_pushstring(L, text);
    lua_setfield(L, 1, name);
}

static void add_error(lua_State *L, nl_state *st, const reporting *r) {
    const neap_report *report = r->report;
    if (r->own) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, st->fault);
        lua_setfield(L, 1, "error");
        lua_rawgeti(L, LUA_REGISTRYINDEX, st->trail);
        lua_setfield(L, 1, "traceback");
    } else if (report->future != NULL && neap_future_error(report->future) < 0 &&
               neap_future_done(report->future)) {
        lua_getfield(L, 1, "future");
        nl_push_failure(L, st, report->future, lua_gettop(L));
        lua_setfield(L, 1, "error");
        lua_pop(L, 1);
    } else if (report->code < 0 && report->code != NEAP_ECANCELED) {
        nl_push_error(L, st, report->code, report->message);
        lua_setfield(L, 1, "error");
    }
}

/* Where the task stands, or stood when it failed. */
static void add_task(lua_State *L, nl_state *st, neap_task *task) {
    nl_push_object(L, st, neap_task_future(task));
    lua_pushvalue(L, -1);
    lua_setfield(L, 1, "task");
    lua_pushvalue(L, -1);
    lua_setfield(L, 1, "future");
    lua_State *co = ((nl_task *)nl_block(L, -1))->co.L;
    nl_getslot(L, -1, NL_LINK);
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "traceback");
        lua_setfield(L, 1, "traceback");
    } else if (co != NULL) {
        luaL_traceback(L, co, NULL, 0);
        const char *site = neap_task_site(task);
        lua_pushfstring(L, "\n\ttask '%s'%s%s", neap_task_name(task),
                        *site != '\0' ? " spawned at " : "", site);
        lua_concat(L, 2);
        lua_setfield(L, 1, "traceback");
    }
    lua_pop(L, 2);
    lua_pushstring(L, neap_task_site(task));
    lua_setfield(L, 1, "site");
}

static void add_future(lua_State *L, nl_state *st, neap_future *future) {
    nl_push_object(L, st, future);
    lua_setfield(L, 1, "future");
    const char *site = neap_future_site(future);
    if (*site != '\0') {
        set_text(L, "site", site);
        lua_pushfstring(L, "future made at %s", site);
        lua_setfield(L, 1, "traceback");
    }
}

/* Of a callback that was slow: which function it is. */
static void add_definition(lua_State *L, nl_state *st) {
    lua_Debug ar;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->recent);
    nl_getslot(L, -1, NL_CALLABLE);
    if (lua_istable(L, -1)) /* with its arguments */
        lua_rawgeti(L, -1, 1);
    if (lua_isfunction(L, -1) && lua_getinfo(L, ">S", &ar)) {
        lua_pushfstring(L, "%s:%d", ar.short_src, ar.linedefined);
        lua_setfield(L, 1, "where");
    }
    lua_settop(L, 1);
}

static void add_handle(lua_State *L, nl_state *st, const neap_report *report) {
    nl_handle *h = st->handle;
    if (h == NULL || (report->handle != NULL && h->handle != NULL && h->handle != report->handle))
        return;
    if (report->handle == NULL && report->kind != NEAP_REPORT_CALLBACK)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->recent);
    lua_setfield(L, 1, "handle");
    if (report->kind == NEAP_REPORT_SLOW)
        add_definition(L, st);
}

static void build(lua_State *L, nl_state *st, const reporting *r) {
    const neap_report *report = r->report;
    lua_createtable(L, 0, 8);
    set_text(L, "kind", kinds[report->kind]);
    set_text(L, "message", report->message);
    if (report->code < 0)
        set_text(L, "code", neap_err_word(report->code));
    if (report->where != NULL)
        set_text(L, "where", report->where);
    if (report->elapsed_ns > 0) {
        lua_pushnumber(L, (lua_Number)report->elapsed_ns / 1e9);
        lua_setfield(L, 1, "elapsed");
    }
    neap_task *task = report->task;
    if (task == NULL && report->future != NULL)
        task = neap_future_task(report->future);
    if (task != NULL)
        add_task(L, st, task);
    else if (report->future != NULL)
        add_future(L, st, report->future);
    if (task == NULL)
        add_handle(L, st, report);
    add_error(L, st, r);
}

/* ---- Printing ---- */

static void print_field(lua_State *L, const char *name, const char *before) {
    lua_getfield(L, 1, name);
    if (lua_isstring(L, -1))
        fprintf(stderr, "%s%s", before, lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* One report on stderr: what, the error, the traceback. */
static void print(lua_State *L, const neap_report *report) {
    fprintf(stderr, "neap: %s: %s", kinds[report->kind], report->message);
    if (report->task != NULL)
        fprintf(stderr, " (task '%s')", neap_task_name(report->task));
    else if (report->kind == NEAP_REPORT_SLOW)
        print_field(L, "where", ", of the function at ");
    lua_getfield(L, 1, "error");
    if (!lua_isnil(L, -1)) {
        const char *text = nl_tolstring(L, -1, NULL);
        if (text != NULL && strcmp(text, report->message) != 0)
            fprintf(stderr, ": %s", text);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    print_field(L, "traceback", "\n");
    fputc('\n', stderr);
}

/* ---- The hook ---- */

/* Pushes the function that wants this report, or nil. */
static void push_listener(lua_State *L, const reporting *r) {
    nl_push_loop(L, r->l);
    nl_getslot(L, -1, r->report->kind == NEAP_REPORT_SLOW ? ON_SLOW : ON_ERROR);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        nl_getslot(L, -1, ON_ERROR);
    }
    lua_replace(L, -2);
}

static void deliver(lua_State *L, nl_state *st, void *arg) {
    const reporting *r = arg;
    build(L, st, r);
    push_listener(L, r);
    if (r->report->kind == NEAP_REPORT_DEADLOCK) {
        lua_pushstring(L, r->report->message);
        lua_rawseti(L, LUA_REGISTRYINDEX, st->trail);
        if (lua_isnil(L, -1))
            return; /* the run raises it */
    }
    if (lua_isnil(L, -1)) {
        print(L, r->report);
        return;
    }
    lua_pushvalue(L, 1);
    lua_call(L, 1, 0);
}

static void print_broken(nl_state *st) {
    lua_State *R = st->R;
    fprintf(stderr, "neap: the error handler failed: %s\n", nl_error_text(R, st, -1));
    lua_pop(R, 1);
}

/* The core's error hook.  Runs in the middle of a callback's failure or at the end of a tick. */
void nl_report(neap_loop *loop, const neap_report *report, void *user) {
    nl_loop *l = user;
    nl_state *st = l->node.st;
    reporting r = {l, report, 0};
    (void)loop;
    if (st->closed || l->holds == 0)
        return;
    r.own = report->kind == NEAP_REPORT_CALLBACK && report->exception_tag == st;
    if (nl_enter(st, deliver, &r) != LUA_OK)
        print_broken(st);
}

void nl_hook_reports(nl_loop *l) {
    if (!l->hooked && neap_loop_set_error_hook(l->loop, nl_report, l, NULL) >= 0)
        l->hooked = 1;
}

/* ---- Settings ---- */

static void set_listener(lua_State *L, nl_state *st, int arg, int slot) {
    if (!lua_isnoneornil(L, arg) && !nl_is_callable(L, arg))
        nl_type_error(L, st, arg, "a function");
    lua_settop(L, arg);
    nl_setslot(L, 1, slot);
}

/* Reports go to the function; nil: they are printed. */
static int loop_on_error(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    set_listener(L, st, 2, ON_ERROR);
    nl_hook_reports(l);
    return 0;
}

/* Steps and callbacks longer than s seconds are reported, to the function if one is given; s false: never. */
static int loop_on_slow(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    int64_t limit = lua_isboolean(L, 2) ? -1 : nl_seconds(L, 2);
    set_listener(L, st, 3, ON_SLOW);
    nl_hook_reports(l);
    nl_check_code(L, st, neap_loop_set_slow(l->loop, limit == NL_NEVER ? -1 : limit));
    return 0;
}

/* Turns debug mode on or off; answers the former setting. */
static int loop_debug(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = nl_check_loop(L, st, 1);
    int32_t on = lua_isnoneornil(L, 2) ? -1 : lua_toboolean(L, 2);
    int32_t before = neap_loop_debug(l->loop, on);
    nl_check_code(L, st, before);
    lua_pushboolean(L, before);
    return 1;
}

const luaL_Reg nl_report_calls[] = {
    {"on_error", loop_on_error}, {"on_slow", loop_on_slow}, {"debug", loop_debug}, {NULL, NULL}};
