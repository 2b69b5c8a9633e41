/* lpool.c: neap.blocking and pools of threads. */
#include "lneap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pool that no script has any more finishes its work.  It is kept until then, so that the end of the state can wait for
   it a little: its jobs know a loop. */
struct nl_finishing {
    neap_pool *pool; /* a reference */
    nl_finishing *next;
};

typedef struct nl_pool {
    nl_node node;
    neap_pool *pool;         /* of `finishing` */
    nl_finishing *finishing; /* memory for its end */
} nl_pool;

enum {
    NAME_SHOWN = 128 /* of a job that is left behind */
};

static nl_pool *check_pool(lua_State *L, nl_state *st, int index) {
    return nl_check(L, st, index, NL_POOL, "a pool");
}

/* ---- Giving a job ---- */

typedef struct giving {
    neap_loop *loop;
    neap_pool *pool; /* NULL: the loop's own */
    const char *name;
    char site[LUA_IDSIZE + 16];
} giving;

/* Of the options form at `at`; its string stays in the place behind it. */
static void read_options(lua_State *L, nl_state *st, int at, giving *g) {
    static const char *const names[] = {"n", "name", "pool", NULL};
    nl_check_options(L, st, at, names);
    g->name = nl_push_text_option(L, st, at, "name");
    lua_replace(L, at + 1);
    lua_getfield(L, at, "pool");
    if (!lua_isnil(L, -1)) {
        nl_pool *p = nl_test(L, st, lua_gettop(L), NL_POOL);
        if (p == NULL)
            nl_throw(L, st, NEAP_ETYPE, "the option 'pool' must be a pool");
        g->pool = p->pool;
    }
    lua_pop(L, 1);
}

/* A job without a name has that of its function. */
static void name_job(lua_State *L, int fn, giving *g) {
    lua_Debug ar;
    if (g->name != NULL)
        return;
    g->name = g->site;
    if (lua_type(L, fn) == LUA_TSTRING) {
        snprintf(g->site, sizeof g->site, "%s", lua_tostring(L, fn));
    } else if (lua_isfunction(L, fn)) {
        lua_pushvalue(L, fn);
        lua_getinfo(L, ">S", &ar);
        if (ar.linedefined > 0)
            snprintf(g->site, sizeof g->site, "%s:%d", ar.short_src, ar.linedefined);
        else
            snprintf(g->site, sizeof g->site, "a function of %s", ar.what);
    }
}

static void refuse_job(lua_State *L, nl_state *st, int32_t code, const char *pool) {
    if (code == NEAP_EBUSY)
        nl_throw(L, st, code, "the queue of the pool '%s' is full", pool);
    if (code == NEAP_ECLOSED)
        nl_throw(L, st, code, "the pool '%s' was shut down", pool);
    nl_check_code(L, st, code);
}

/* Gives what is at `at` and behind, a function and its arguments or the options form, to a pool: takes them off the stack. */
static neap_future *give(lua_State *L, nl_state *st, giving *g, int at) {
    neap_future *future = NULL;
    neap_pool *own = NULL;
    int fn = nl_expand_options(L, st, at, 1);
    if (fn > at)
        read_options(L, st, at, g);
    name_job(L, fn, g);
    nl_job *job = nl_job_new(L, st, fn);
    int32_t code = g->pool == NULL ? neap_loop_pool(g->loop, NEAP_POOL_USER, &own) : 0;
    if (code < 0) {
        nl_job_free(job);
        nl_throw_code(L, st, code);
    }
    neap_pool *pool = g->pool != NULL ? g->pool : own;
    const neap_job_options options = {
        .size = sizeof options, .name = g->name, .finish = nl_job_finish};
    code = neap_pool_submit(pool, g->loop, nl_job_run, job, nl_job_free, &options, &future);
    neap_pool_unref(own);
    if (code < 0)
        refuse_job(L, st, code, g->pool != NULL ? neap_pool_name(g->pool) : "user");
    lua_settop(L, at - 1);
    return future;
}

static int job_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int n = nl_push_outcome(L, st, nl_woken(L, st), 0);
    nl_wait_end(st->task);
    return n < 0 ? lua_error(L) : n;
}

static int give_and_wait(lua_State *L, nl_state *st, neap_pool *pool, int at) {
    giving g = {.loop = nl_loop_now(L, st)->loop, .pool = pool};
    neap_future *future = give(L, st, &g, at);
    return nl_park(L, st, future, 1, job_end);
}

static int blocking(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, blocking);
    return give_and_wait(L, st, NULL, 1);
}

static int pool_run(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_pool *p = check_pool(L, st, 1);
    nl_check_wait(L, st);
    if (nl_is_spent(st))
        return nl_again(L, st, pool_run);
    return give_and_wait(L, st, p->pool, 2);
}

static int is_wanted(lua_State *L) {
    lua_pushboolean(L, nl_job_wanted(L));
    return 1;
}

/* ---- On the loop object, with asyncio's names ---- */

static nl_loop *receiver(lua_State *L, nl_state *st) {
    nl_loop *l = nl_check_loop(L, st, 1);
    if (neap_loop_is_closed(l->loop))
        nl_throw_code(L, st, NEAP_ELOOP_CLOSED);
    return l;
}

/* asyncio's first argument, the executor, may be left out. */
static int run_in_executor(lua_State *L) {
    nl_state *st = NL_STATE(L);
    giving g = {.loop = receiver(L, st)->loop};
    nl_pool *p = nl_test(L, st, 2, NL_POOL);
    if (p != NULL || lua_isnil(L, 2))
        lua_remove(L, 2);
    if (p != NULL)
        g.pool = p->pool;
    nl_object *o = nl_new_object(L, st);
    o->node.flags = NL_INTERNAL;
    lua_insert(L, 2);
    o->future = give(L, st, &g, 3);
    return 1;
}

static int set_default_executor(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_loop *l = receiver(L, st);
    neap_pool *pool = lua_isnil(L, 2) ? NULL : check_pool(L, st, 2)->pool;
    nl_check_code(L, st, neap_loop_set_pool(l->loop, NEAP_POOL_USER, pool));
    return 0;
}

/* ---- Pools that no script has any more ---- */

static void end_pool(nl_finishing **at, int64_t timeout) {
    nl_finishing *f = *at;
    *at = f->next;
    (void)neap_pool_shutdown(f->pool, timeout, NEAP_POOL_FINISH, NULL, NULL);
    neap_pool_unref(f->pool);
    free(f);
}

static int is_finished(neap_pool *pool) {
    neap_pool_stats stats;
    return neap_pool_get_stats(pool, &stats, sizeof stats) < 0 || stats.threads == 0;
}

static void end_finished(nl_state *st) {
    for (nl_finishing **at = &st->finishing; *at != NULL;) {
        if (is_finished((*at)->pool))
            end_pool(at, 0);
        else
            at = &(*at)->next;
    }
}

/* The state closes. */
void nl_end_pools(nl_state *st) {
    while (st->finishing != NULL)
        end_pool(&st->finishing, NL_CLOSING_NS);
}

/* ---- Pools ---- */

static int new_pool(lua_State *L) {
    static const char *const names[] = {"threads", "queue", "name", "idle", NULL};
    nl_state *st = NL_STATE(L);
    neap_pool_options options = {.size = sizeof options, .name = "pool"};
    lua_settop(L, 1);
    if (nl_has_options(L, st, 1, names)) {
        options.threads_max = (uint32_t)nl_count_option(L, st, 1, "threads", 1, INT32_MAX);
        options.queue_max = nl_count_option(L, st, 1, "queue", 1, INT32_MAX);
        lua_getfield(L, 1, "idle");
        if (!lua_isnil(L, -1))
            options.idle_ns = nl_seconds(L, 2) + 1;
        lua_pop(L, 1);
        const char *name = nl_push_text_option(L, st, 1, "name");
        if (name != NULL)
            options.name = name;
    }
    end_finished(st);
    nl_pool *p = nl_make(L, st, NL_POOL, sizeof *p, 0);
    nl_finishing *f = nl_alloc(L, sizeof *f);
    int32_t code = neap_pool_new(&options, &f->pool);
    if (code < 0) {
        free(f);
        nl_throw_code(L, st, code);
    }
    p->pool = f->pool;
    p->finishing = f;
    return 1;
}

static void set_number(lua_State *L, const char *name, double value) {
    lua_pushnumber(L, (lua_Number)value);
    lua_setfield(L, -2, name);
}

static void set_count(lua_State *L, const char *name, uint64_t value) {
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static int pool_stats(lua_State *L) {
    nl_state *st = NL_STATE(L);
    neap_pool_stats stats;
    nl_check_code(L, st, neap_pool_get_stats(check_pool(L, st, 1)->pool, &stats, sizeof stats));
    lua_createtable(L, 0, 9);
    set_count(L, "threads", stats.threads);
    set_count(L, "idle", stats.idle);
    set_count(L, "queued", stats.queued);
    set_count(L, "running", stats.running);
    set_count(L, "done", stats.done);
    set_count(L, "dropped", stats.dropped);
    set_number(L, "longest_queue_time", (double)stats.queue_longest_ns / 1e9);
    set_number(L, "queue_time", (double)stats.queue_total_ns / 1e9);
    set_number(L, "longest_run_time", (double)stats.run_longest_ns / 1e9);
    return 1;
}

static int pool_tostring(lua_State *L) {
    nl_state *st = NL_STATE(L);
    lua_pushfstring(L, "neap.pool: %s", neap_pool_name(check_pool(L, st, 1)->pool));
    return 1;
}

/* ---- Shutting down ---- */

/* Names that fit into a block of Lua's: nothing may be raised while the core tells them. */
typedef struct left {
    uint32_t n, cap;
    char names[][NAME_SHOWN];
} left;

static void note_left(const char *name, int64_t running_ns, void *user) {
    left *l = user;
    (void)running_ns;
    if (l->n < l->cap)
        snprintf(l->names[l->n++], NAME_SHOWN, "%s", name);
}

/* Answers a list of the names of jobs that are left behind. */
static int push_left(lua_State *L, nl_state *st, neap_pool *pool) {
    neap_pool_stats stats;
    nl_check_code(L, st, neap_pool_get_stats(pool, &stats, sizeof stats));
    uint32_t cap = stats.queued + stats.running;
    left *l = lua_newuserdata(L, sizeof *l + (size_t)cap * NAME_SHOWN);
    l->n = 0;
    l->cap = cap;
    nl_check_code(L, st, neap_pool_shutdown(pool, 0, 0, note_left, l));
    lua_createtable(L, (int)l->n, 0);
    for (uint32_t i = 0; i < l->n; i++) {
        lua_pushstring(L, l->names[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int shutdown_end(lua_State *L) {
    nl_state *st = NL_STATE(L);
    int32_t code = neap_future_error(nl_woken(L, st));
    nl_wait_end(st->task);
    if (code < 0 && code != NEAP_ETIMEOUT)
        nl_throw_code(L, st, code);
    return push_left(L, st, check_pool(L, st, 1)->pool);
}

/* Pushes nothing; answers the time that the wait may take. */
static int64_t read_shutdown(lua_State *L, nl_state *st, uint32_t *ret_flags) {
    static const char *const names[] = {"timeout", "cancel", NULL};
    int64_t timeout = -1;
    lua_settop(L, 2);
    *ret_flags = NEAP_POOL_FINISH;
    if (!nl_has_options(L, st, 2, names))
        return timeout;
    lua_getfield(L, 2, "timeout");
    if (!lua_isnil(L, 3))
        timeout = nl_seconds(L, 3);
    lua_getfield(L, 2, "cancel");
    if (lua_toboolean(L, 4))
        *ret_flags = 0;
    lua_settop(L, 2);
    return timeout == NL_NEVER ? -1 : timeout;
}

static int pool_shutdown(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_pool *p = check_pool(L, st, 1);
    uint32_t flags;
    neap_future *ended = NULL, *future = NULL;
    nl_check_wait(L, st);
    int64_t timeout = read_shutdown(L, st, &flags);
    nl_check_code(L, st, neap_pool_close(p->pool, flags));
    int32_t code = neap_pool_closed(p->pool, nl_loop_now(L, st)->loop, &ended);
    if (code == 0)
        return push_left(L, st, p->pool);
    if (code != NEAP_PENDING)
        nl_throw_code(L, st, code);
    code = neap_wait_for(ended, timeout, &future);
    neap_future_unref(ended);
    nl_check_code(L, st, code);
    return nl_park(L, st, future, 1, shutdown_end);
}

static void drop(nl_node *node) {
    nl_pool *p = (nl_pool *)node;
    nl_state *st = node->st;
    if (p->pool == NULL)
        return;
    (void)neap_pool_close(p->pool, NEAP_POOL_FINISH);
    p->finishing->next = st->finishing;
    st->finishing = p->finishing;
    p->pool = NULL;
}

const luaL_Reg nl_pool_calls[] = {{"run_in_executor", run_in_executor},
                                  {"set_default_executor", set_default_executor},
                                  {NULL, NULL}};

void nl_open_pool(lua_State *L, nl_state *st) {
    static const luaL_Reg metas[] = {{"__gc", nl_gc}, {"__tostring", pool_tostring}, {NULL, NULL}};
    static const luaL_Reg pool_waits[] = {
        {"run", pool_run}, {"shutdown", pool_shutdown}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"stats", pool_stats}, {NULL, NULL}};
    static const luaL_Reg waits[] = {{"blocking", blocking}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"pool", new_pool}, {"is_wanted", is_wanted}, {NULL, NULL}};
    st->drops[NL_POOL] = drop;
    nl_class(L, st, NL_POOL, "neap.pool", methods, pool_waits, metas);
    lua_pop(L, 1);
    nl_waits(L, st, waits);
    nl_functions(L, st, functions);
}
