/* local.c: task-local values: an immutable chain of links, shared by all who inherited it, one link per key.  Setting makes a
   new link in front and copies those that stood before the key's old one, so a chain never grows past its keys. */
#include "core/loop.h"

typedef struct box {
    uint32_t refs;
    void *value;
    neap_destroy_fn destroy;
} box;

struct np_local {
    np_local *next; /* holds a reference */
    uint32_t refs;
    const void *key;
    box *box; /* holds a reference */
};

static void box_unref(neap_loop *loop, box *b) {
    if (--b->refs > 0)
        return;
    if (b->destroy != NULL)
        b->destroy(b->value);
    np_pool_put(&loop->pool, b, sizeof *b);
}

np_local *np_local_ref(np_local *local) {
    if (local != NULL)
        local->refs++;
    return local;
}

void np_local_unref(neap_loop *loop, np_local *local) {
    while (local != NULL && --local->refs == 0) {
        np_local *next = local->next;
        box_unref(loop, local->box);
        np_pool_put(&loop->pool, local, sizeof *local);
        local = next;
    }
}

/* Takes the reference to b on success. */
static np_local *link_new(neap_loop *loop, const void *key, box *b) {
    np_local *link = np_pool_get(&loop->pool, sizeof *link);
    if (link != NULL)
        *link = (np_local){NULL, 1, key, b};
    return link;
}

static np_local *find(np_local *chain, const void *key) {
    while (chain != NULL && chain->key != key)
        chain = chain->next;
    return chain;
}

/* Copies the links of `chain` before `end` behind `*tail`; false when there is no memory. */
static bool copy_links(neap_loop *loop, np_local **tail, const np_local *chain,
                       const np_local *end) {
    for (; chain != end; chain = chain->next) {
        np_local *link = link_new(loop, chain->key, chain->box);
        if (link == NULL)
            return false;
        link->box->refs++;
        *tail = link;
        tail = &link->next;
    }
    *tail = np_local_ref(end != NULL ? end->next : NULL);
    return true;
}

static int32_t push(neap_loop *loop, const void *key, box *b) {
    np_local *head = link_new(loop, key, b);
    if (head == NULL)
        return NEAP_ENOMEM;
    np_local *old = find(loop->context, key);
    bool ok = old == NULL ? (head->next = np_local_ref(loop->context), true)
                          : copy_links(loop, &head->next, loop->context, old);
    if (!ok) {
        b->refs++; /* the caller still has it */
        np_local_unref(loop, head);
        return NEAP_ENOMEM;
    }
    np_local_unref(loop, loop->context);
    loop->context = head;
    return 0;
}

static int32_t set(neap_loop *loop, const void *key, void *value, neap_destroy_fn destroy) {
    int32_t rc = loop == NULL || key == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    box *b = np_pool_get(&loop->pool, sizeof *b);
    if (b == NULL)
        return NEAP_ENOMEM;
    *b = (box){1, value, destroy};
    rc = push(loop, key, b);
    if (rc < 0)
        np_pool_put(&loop->pool, b, sizeof *b);
    return rc;
}

int32_t neap_local_set(neap_loop *loop, const void *key, void *value, neap_destroy_fn destroy) {
    int32_t rc = set(loop, key, value, destroy);
    if (rc < 0 && destroy != NULL)
        destroy(value);
    return rc;
}

int32_t neap_local_get(neap_loop *loop, const void *key, void **ret_value) {
    int32_t rc = loop == NULL || ret_value == NULL ? NEAP_EINVAL : np_look(loop);
    if (rc < 0)
        return rc;
    np_local *link = find(loop->context, key);
    if (link == NULL)
        return 0;
    *ret_value = link->box->value;
    return 1;
}
