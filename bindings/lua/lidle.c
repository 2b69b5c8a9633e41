/* lidle.c: collecting garbage while a loop has nothing to do, so that less of it falls into the time of requests.  It
   begins once the heap has grown and nothing has happened for a while, and goes on in the collector's own steps with a
   look at the kernel after each.  A collector that the script has stopped stays stopped.

   A wait with a time limit costs the kernel a timer.  So a loop whose last wait was short is not asked for silence: the
   first wait after a burst may last, and what the burst has left is collected after the event that ends it. */
#include "lneap.h"

enum {
    QUIET_NS = 2000000,
    GROWTH_KB = 64, /* besides an eighth */
    AFTER_YOUNG = 4 /* steps of a collector that does not tell its end */
};

/* The heap has grown since the last collection in silence, or since one of the engine's own left it smaller. */
static int is_due(nl_idle *idle, int kb) {
    if (kb < idle->least_kb)
        idle->least_kb = kb;
    return kb >= idle->least_kb + idle->least_kb / 8 + GROWTH_KB;
}

/* A table that is garbage at once: a collector of generations takes it in its first step and tells no end of its cycle. */
static void put_canary(lua_State *L, int canary) {
    nl_anchored(L, canary);
    lua_newtable(L);
    lua_rawseti(L, -2, 1);
    lua_pop(L, 1);
}

static int has_canary(lua_State *L, int canary) {
    nl_anchored(L, canary);
    lua_rawgeti(L, -1, 1);
    int lives = !lua_isnil(L, -1);
    lua_pop(L, 2);
    return lives;
}

/* One step; finalizers may run in it. */
static void step(lua_State *L, nl_state *st, void *arg) {
    nl_idle *idle = arg;
    int first = !idle->begun;
    idle->begun = 1;
    idle->left--;
    if (first)
        put_canary(L, st->idle.canary);
    if (nl_collect(L))
        idle->left = 0;
    else if (first && !has_canary(L, st->idle.canary))
        idle->left = AFTER_YOUNG;
}

/* How long the silence has to last; -1: it is not waited for. */
static int64_t wanted_silence(neap_loop *loop, nl_idle *idle) {
    int64_t now = neap_loop_time(loop), since = now - idle->asked;
    idle->asked = now;
    return since >= QUIET_NS ? QUIET_NS : -1;
}

static int64_t collect(neap_loop *loop, int32_t quiet, void *user) {
    nl_state *st = user;
    nl_idle *idle = &st->idle;
    if (st->closed)
        return -1;
    int kb = lua_gc(st->R, LUA_GCCOUNT, 0);
    if (idle->left == 0 && !is_due(idle, kb))
        return -1;
    if (!nl_may_collect(st->R))
        return -1;
    if (!quiet)
        return wanted_silence(loop, idle);
    if (idle->left == 0) {
        idle->begun = 0;
        idle->left = AFTER_YOUNG + kb; /* more than any collector needs */
    }
    nl_call_in(st, loop, step, idle);
    if (idle->left > 0)
        return 0;
    idle->least_kb = lua_gc(st->R, LUA_GCCOUNT, 0);
    return -1;
}

void nl_idle_on(nl_loop *l) {
    neap_loop_set_idle_hook(l->loop, collect, l->node.st, NULL);
}
