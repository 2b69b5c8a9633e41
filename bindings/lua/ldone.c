/* ldone.c: callbacks of futures.  The functions hang from the future's userdata, so a pending future that nobody can
   complete goes with them; the userdata is held from the moment the core may call. */
#include "lneap.h"

#include <stdlib.h>

struct nl_callback {
    nl_object *o;
    neap_handle *handle; /* a reference */
    nl_callback *next;
    int held; /* the userdata is held for this one */
};

static void hold_for(lua_State *L, nl_callback *c, int ud) {
    if (c->held)
        return;
    nl_hold(L, c->o, ud);
    c->held = 1;
}

/* From now on the core may complete the future of the userdata at `ud`. */
void nl_reach(lua_State *L, nl_object *o, int ud) {
    o->node.flags |= NL_INTERNAL;
    for (nl_callback *c = o->calls; c != NULL; c = c->next)
        hold_for(L, c, ud);
}

static void unlink_callback(nl_callback *c) {
    nl_callback **at = &c->o->calls;
    while (*at != NULL && *at != c)
        at = &(*at)->next;
    if (*at == c)
        *at = c->next;
}

/* Takes the function out of the table of the held userdata. */
static void forget_function(nl_state *st, nl_callback *c) {
    lua_State *R = st->R;
    nl_anchored(R, c->o->node.ref);
    nl_getslot(R, -1, NL_NOTES);
    lua_pushlightuserdata(R, c);
    lua_pushnil(R);
    lua_rawset(R, -3);
    lua_pop(R, 2);
}

/* The core has done with the callback: it ran, was removed, or its future went. */
static void callback_gone(void *user) {
    nl_callback *c = user;
    nl_state *st = c->o->node.st;
    unlink_callback(c);
    neap_handle_unref(c->handle);
    if (c->held && !st->closed) {
        forget_function(st, c);
        nl_release(c->o);
    }
    free(c);
}

static void call_function(lua_State *L, nl_state *st, void *arg) {
    nl_callback *c = arg;
    (void)st;
    nl_anchored(L, c->o->node.ref);
    nl_getslot(L, 1, NL_NOTES);
    lua_pushlightuserdata(L, c);
    lua_rawget(L, 2);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 0);
}

static void callback_fire(neap_future *future, void *user) {
    nl_callback *c = user;
    if (c->held)
        nl_call_in(c->o->node.st, neap_future_loop(future), call_function, c);
}

/* Pushes the table of notes of the userdata at `ud`. */
void nl_push_notes(lua_State *L, int ud) {
    nl_getslot(L, ud, NL_NOTES);
    if (lua_istable(L, -1))
        return;
    lua_newtable(L);
    lua_insert(L, -2);
    lua_setfield(L, -2, "site"); /* nothing, or the function that stood there alone */
    lua_pushvalue(L, -1);
    nl_setslot(L, ud, NL_NOTES);
}

/* From here on the userdata's end frees the record, whatever fails. */
static nl_callback *new_callback(lua_State *L, nl_object *o, int held) {
    nl_callback *c = calloc(1, sizeof *c);
    if (c == NULL) {
        if (held)
            nl_release(o);
        luaL_error(L, "not enough memory");
    } else {
        c->o = o;
        c->held = held;
        c->next = o->calls;
        o->calls = c;
    }
    return c;
}

int nl_add_done_callback(lua_State *L) {
    nl_state *st = NL_STATE(L);
    nl_object *o = nl_check_object(L, st, 1);
    if (!nl_is_callable(L, 2))
        return nl_type_error(L, st, 2, "a function");
    neap_future *future = nl_check_future(L, st, 1);
    lua_settop(L, 2);
    nl_push_notes(L, 1);
    int held = (o->node.flags & NL_INTERNAL) || neap_future_done(future);
    if (held)
        nl_hold(L, o, 1);
    nl_callback *c = new_callback(L, o, held);
    lua_pushlightuserdata(L, c);
    lua_pushvalue(L, 2);
    lua_rawset(L, 3);
    nl_check_code(L, st, neap_future_on_done(future, callback_fire, c, callback_gone, &c->handle));
    return 0;
}

static int has_function(lua_State *L, nl_callback *c) {
    lua_pushlightuserdata(L, c);
    lua_rawget(L, 3);
    int same = lua_rawequal(L, -1, 2);
    lua_pop(L, 1);
    return same;
}

int nl_remove_done_callback(lua_State *L) {
    nl_object *o = nl_check_object(L, NL_STATE(L), 1);
    int removed = 0;
    lua_settop(L, 2);
    nl_push_notes(L, 1);
    for (nl_callback *c = o->calls, *next; c != NULL; c = next) {
        next = c->next;
        if (!has_function(L, c))
            continue;
        lua_pushlightuserdata(L, c);
        lua_pushnil(L);
        lua_rawset(L, 3);
        removed += neap_handle_cancel(c->handle) > 0;
    }
    lua_pushinteger(L, removed);
    return 1;
}

/* For a userdata that goes: no callback of the core may point at it. */
void nl_forget_callbacks(nl_object *o) {
    while (o->calls != NULL) {
        nl_callback *c = o->calls;
        if (c->handle == NULL)
            callback_gone(c); /* memory was out before the core heard of it */
        else if (neap_handle_cancel(c->handle) <= 0 && o->calls == c)
            unlink_callback(c); /* it ran, but the core has not let go yet */
    }
}
