/* ltrace.c: what a loop did: its figures, and a recording of each movement. */
#include "lneap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_KEPT = 32
};

typedef struct note {
    int32_t kind;
    int64_t value;
    int64_t time;
    uint64_t id, by; /* of the task, and of the one whose step ran; 0: none */
    char task[NAME_KEPT];
} note;

/* A recording: written by the trace hook, which may allocate but not touch Lua. */
struct nl_trace {
    note *notes;
    size_t n, cap;
    int lost; /* memory was out */
};

static const char *const events[] = {
    [NEAP_TRACE_POLL] = "poll",       [NEAP_TRACE_POLLED] = "polled",
    [NEAP_TRACE_READY] = "ready",     [NEAP_TRACE_IO] = "io",
    [NEAP_TRACE_SETTLE] = "settle",   [NEAP_TRACE_WAKE] = "wake",
    [NEAP_TRACE_SPAWN] = "spawn",     [NEAP_TRACE_STEP] = "step",
    [NEAP_TRACE_SUSPEND] = "suspend", [NEAP_TRACE_YIELD] = "yield",
    [NEAP_TRACE_DONE] = "done",       [NEAP_TRACE_CALL] = "call",
    [NEAP_TRACE_RUN_END] = "run_end", [NEAP_TRACE_CALLED] = "called",
};

static int grow(nl_trace *t) {
    size_t cap = t->cap == 0 ? 256 : 2 * t->cap;
    note *notes = realloc(t->notes, cap * sizeof *notes);
    if (notes == NULL)
        return 0;
    t->notes = notes;
    t->cap = cap;
    return 1;
}

static void take_note(neap_loop *loop, const neap_trace *trace, void *user) {
    nl_trace *t = user;
    (void)loop;
    if (t->n == t->cap && !grow(t)) {
        t->lost = 1;
        return;
    }
    note *n = &t->notes[t->n++];
    neap_task *task = trace->task;
    if (task == NULL && trace->future != NULL)
        task = neap_future_task(trace->future);
    n->kind = trace->kind;
    n->value = trace->value;
    n->time = trace->time_ns;
    n->id = task != NULL ? neap_task_id(task) : 0;
    n->by = trace->current != NULL ? neap_task_id(trace->current) : 0;
    n->task[0] = '\0';
    if (task != NULL)
        snprintf(n->task, sizeof n->task, "%s", neap_task_name(task));
}

static void trace_gone(void *user) {
    nl_trace *t = user;
    free(t->notes);
    free(t);
}

void nl_trace_stop(nl_loop *l) {
    if (l->trace == NULL)
        return;
    l->trace = NULL;
    neap_loop_set_trace_hook(l->loop, NULL, NULL, NULL);
}

static void start(lua_State *L, nl_loop *l) {
    nl_trace_stop(l);
    nl_trace *t = nl_alloc(L, sizeof *t);
    nl_check_code(L, l->node.st, neap_loop_set_trace_hook(l->loop, take_note, t, trace_gone));
    l->trace = t;
}

static void set_id(lua_State *L, const char *name, uint64_t id) {
    if (id == 0)
        return;
    lua_pushinteger(L, (lua_Integer)id);
    lua_setfield(L, -2, name);
}

static void push_notes(lua_State *L, const nl_trace *t) {
    lua_createtable(L, (int)t->n, 0);
    for (size_t i = 0; i < t->n; i++) {
        const note *n = &t->notes[i];
        lua_createtable(L, 0, 6);
        lua_pushstring(L, events[n->kind]);
        lua_setfield(L, -2, "event");
        lua_pushinteger(L, (lua_Integer)n->value);
        lua_setfield(L, -2, "value");
        lua_pushnumber(L, (lua_Number)n->time / 1e9);
        lua_setfield(L, -2, "time");
        if (n->id != 0) {
            lua_pushstring(L, n->task);
            lua_setfield(L, -2, "task");
        }
        set_id(L, "id", n->id);
        set_id(L, "by", n->by);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* trace(true) begins a recording; trace(false) ends it and answers the list. */
static int loop_trace(lua_State *L) {
    nl_loop *l = nl_check_loop(L, NL_STATE(L), 1);
    if (lua_toboolean(L, 2)) {
        start(L, l);
        return 0;
    }
    if (l->trace == NULL) {
        lua_newtable(L);
        return 1;
    }
    /* Pushing may collect garbage, and finalizers may move the loop: the list is closed first. */
    nl_trace kept = *l->trace;
    l->trace->notes = NULL;
    l->trace->n = l->trace->cap = 0;
    nl_trace_stop(l);
    push_notes(L, &kept);
    free(kept.notes);
    return 1;
}

/* Adds the times, in seconds, to the table on top. */
static void add_times(lua_State *L, const neap_metrics *m) {
    const struct {
        const char *name;
        int64_t ns;
    } times[] = {
        {"elapsed", m->elapsed_ns},
        {"busy", m->busy_ns},
        {"longest_batch", m->longest_batch_ns},
        {"longest_step", m->longest_step_ns},
        {"late_last", m->late_last_ns},
        {"late_longest", m->late_longest_ns},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        lua_pushnumber(L, (lua_Number)times[i].ns / 1e9);
        lua_setfield(L, -2, times[i].name);
    }
    lua_pushstring(L, m->longest_step);
    lua_setfield(L, -2, "longest_step_of");
    lua_createtable(L, NEAP_LATE_MAX, 0);
    for (int i = 0; i < NEAP_LATE_MAX; i++) {
        lua_pushinteger(L, (lua_Integer)m->late[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "late");
}

/* Pushes a loop's figures as a table. */
void nl_push_metrics(lua_State *L, const neap_metrics *m) {
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"ticks", m->ticks},
        {"polls", m->polls},
        {"blocked_polls", m->blocked_polls},
        {"events", m->events},
        {"runs", m->runs},
        {"registrations", m->registrations},
        {"ready", m->ready},
        {"timers", m->timers},
        {"tasks", m->tasks},
        {"futures", m->futures},
        {"operations", m->operations},
        {"socks", m->socks},
        {"objects", m->objects},
        {"bytes", m->bytes},
        {"blocks", m->blocks},
        {"allocations", m->allocations},
    };
    lua_createtable(L, 0, sizeof figures / sizeof *figures);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        lua_pushinteger(L, (lua_Integer)figures[i].value);
        lua_setfield(L, -2, figures[i].name);
    }
    add_times(L, m);
}

static int loop_metrics(lua_State *L) {
    nl_loop *l = nl_check_loop(L, NL_STATE(L), 1);
    neap_metrics m;
    memset(&m, 0, sizeof m);
    nl_check_code(L, l->node.st, neap_loop_metrics(l->loop, &m, sizeof m));
    nl_push_metrics(L, &m);
    return 1;
}

const luaL_Reg nl_trace_calls[] = {{"trace", loop_trace}, {"metrics", loop_metrics}, {NULL, NULL}};
