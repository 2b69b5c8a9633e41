/* lnode.c: our userdata: the boxes and the blocks that they lead to, the list of a state's blocks, and finalizers. */
#include "lneap.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- Finding ---- */

void *nl_check(lua_State *L, nl_state *st, int index, nl_kind kind, const char *what) {
    void *block = nl_test(L, st, index, kind);
    if (block == NULL)
        nl_refuse(L, st, index, what);
    return block;
}

/* Raises that the value at index is not `what`, or that it is closed: finalizers see what was finalized before them. */
void nl_refuse(lua_State *L, nl_state *st, int index, const char *what) {
    const nl_box *box = lua_touserdata(L, index);
    int ours = box != NULL && lua_rawlen(L, index) >= sizeof *box && box->st == st;
    if (ours && nl_node_at(L, st, index) == NULL)
        nl_throw_code(L, st, NEAP_ECLOSED);
    nl_type_error(L, st, index, what);
}

/* ---- The list of the state, and blocks ---- */

void nl_track(nl_node *node) {
    nl_state *st = node->st;
    node->next = st->nodes;
    node->at = &st->nodes;
    if (node->next != NULL)
        node->next->at = &node->next;
    st->nodes = node;
}

void nl_untrack(nl_node *node) {
    if (node->at == NULL)
        return;
    *node->at = node->next;
    if (node->next != NULL)
        node->next->at = node->at;
    node->at = NULL;
}

_Static_assert(offsetof(nl_box, node) == offsetof(nl_node, self), "a node can be a box");

static int has_finalizer(int kind) {
    return kind != NL_TASK && kind != NL_LOCAL;
}

/* A block that is used again is warm, and leaves the allocator out of what scripts make by the thousand. */
static nl_node *new_block(lua_State *L, nl_state *st, size_t size) {
    size_t units = (size + 7) / 8;
    if (units >= NL_SPARE_UNITS)
        return nl_alloc(L, size);
    nl_node *node = st->spare[units];
    if (node != NULL) {
        st->spare[units] = node->next;
        st->spares[units]--;
        memset(node, 0, size);
    } else {
        node = nl_alloc(L, 8 * units);
    }
    node->units = (uint8_t)units;
    return node;
}

static void free_block(nl_state *st, nl_node *node) {
    int units = node->units;
    if (units == 0 || st->spares[units] == NL_SPARE_MAX) {
        free(node);
        return;
    }
    node->next = st->spare[units];
    st->spare[units] = node;
    st->spares[units]++;
}

/* Pushes a userdata and answers its block, zeroed but for the head.  One with a finalizer is in the state's list from now
   on, whatever becomes of it. */
void *nl_make(lua_State *L, nl_state *st, nl_kind kind, size_t size, int slots) {
    int apart = has_finalizer(kind);
    if (st->life == NULL)
        nl_throw_code(L, st, NEAP_ECLOSED);
    nl_box *box = nl_newblock(L, apart ? sizeof *box : size, slots);
    nl_node *node = apart ? new_block(L, st, size) : memset(box, 0, size);
    node->st = st;
    node->kind = (uint8_t)kind;
    node->ref = LUA_NOREF;
    if (apart)
        nl_track(node);
    box->st = st;
    box->node = node;
    nl_setmeta(L, st, kind);
    return node;
}

/* ---- Finalizers ---- */

/* What the running finalizer is for, or NULL: the end of the state sees to it. */
void *nl_finalized(lua_State *L) {
    nl_state *st = NL_STATE(L);
    return st->closed ? NULL : nl_node_at(L, st, 1);
}

/* The end of a finalizer: the node lets go of the core and is freed. */
void nl_drop(lua_State *L, nl_node *node) {
    nl_box *box = lua_touserdata(L, 1);
    box->node = NULL;
    nl_untrack(node);
    node->st->drops[node->kind](node);
    free_block(node->st, node);
}

/* A finalizer for what may go at any time. */
int nl_gc(lua_State *L) {
    nl_node *node = nl_finalized(L);
    if (node != NULL)
        nl_drop(L, node);
    return 0;
}

/* ---- The end ---- */

/* Boxes may still lead to the blocks, which stay until no finalizer is to come. */
void nl_end_nodes(nl_state *st) {
    while (st->nodes != NULL) {
        nl_node *node = st->nodes;
        nl_untrack(node);
        st->drops[node->kind](node);
        if (has_finalizer(node->kind)) {
            node->next = st->ended;
            st->ended = node;
        }
    }
}

static void free_all(nl_node *node) {
    while (node != NULL) {
        nl_node *next = node->next;
        free(node);
        node = next;
    }
}

/* Nothing leads to them any more: the guard is finalized last. */
void nl_free_blocks(nl_state *st) {
    free_all(st->ended);
    for (int units = 0; units < NL_SPARE_UNITS; units++)
        free_all(st->spare[units]);
}
