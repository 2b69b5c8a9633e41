/* chan.c: channels.  While receivers wait the store is empty and no sender waits; while senders wait the store is full: so a
   value always goes to the one who has waited longest, in the order in which values were sent. */
#include <string.h>

#include "core/lot.h"

struct neap_chan {
    np_obj obj;
    np_lot senders; /* with their items */
    np_lot receivers;
    np_item *store; /* a ring of `room` items, which grows up to `capacity` */
    size_t room, first, len, capacity;
    bool closed;
};

enum {
    ROOM_MIN = 4
};

/* ---- The store */

static np_item *at(neap_chan *c, size_t n) {
    size_t index = c->first + n;
    return &c->store[index < c->room ? index : index - c->room];
}

static bool grow(neap_chan *c) {
    size_t room = c->room == 0 ? ROOM_MIN : 2 * c->room;
    if (room > c->capacity)
        room = c->capacity;
    np_item *store = room > SIZE_MAX / sizeof *store
                         ? NULL
                         : np_alloc_get(c->obj.loop->alloc, room * sizeof *store);
    if (store == NULL)
        return false;
    for (size_t i = 0; i < c->len; i++)
        store[i] = *at(c, i);
    np_alloc_put(c->obj.loop->alloc, c->store, c->room * sizeof *store);
    c->store = store;
    c->room = room;
    c->first = 0;
    return true;
}

/* Takes the item, if there is memory. */
static int32_t put(neap_chan *c, const np_item *item) {
    if (c->len == c->room && !grow(c))
        return NEAP_ENOMEM;
    c->len++;
    *at(c, c->len - 1) = *item;
    return 0;
}

static np_item take(neap_chan *c) {
    np_item item = *at(c, 0);
    c->first = c->first + 1 < c->room ? c->first + 1 : 0;
    c->len--;
    return item;
}

/* ---- Made and gone */

static void destroy(np_obj *obj) {
    neap_chan *c = np_container(obj, neap_chan, obj);
    while (c->len > 0) {
        np_item item = take(c);
        np_item_drop(&item);
    }
    np_alloc_put(obj->loop->alloc, c->store, c->room * sizeof *c->store);
    np_obj_free(obj, sizeof *c);
}

static const np_type chan_type = {.name = "a channel", .destroy = destroy};

int32_t neap_chan_new(neap_loop *loop, size_t capacity, neap_chan **ret_chan) {
    int32_t rc = loop == NULL || ret_chan == NULL ? NEAP_EINVAL : np_enter(loop);
    neap_chan *c = rc < 0 ? NULL : np_obj_new(loop, &chan_type, sizeof *c);
    if (c == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&c->senders);
    np_lot_init(&c->receivers);
    c->capacity = capacity;
    np_obj_publish(&c->obj);
    *ret_chan = c;
    return 0;
}

neap_chan *neap_chan_ref(neap_chan *chan) {
    np_obj_outer_ref(&chan->obj);
    return chan;
}

void neap_chan_unref(neap_chan *chan) {
    if (chan != NULL)
        np_obj_outer_unref(&chan->obj);
}

/* ---- Sending */

static int32_t wait_to_send(neap_chan *c, const np_item *item, neap_future **ret_future) {
    if (ret_future == NULL)
        return NEAP_EAGAIN;
    np_parked *p = np_lot_park(&c->senders, &c->obj);
    if (p == NULL)
        return NEAP_ENOMEM;
    p->item = *item;
    (void)np_future_give(&p->f, ret_future);
    return NEAP_PENDING;
}

static int32_t send(neap_chan *c, np_item *item, neap_future **ret_future) {
    int32_t rc = c == NULL ? NEAP_EINVAL : np_enter(c->obj.loop);
    if (rc < 0)
        return rc;
    if (c->closed)
        return NEAP_ECLOSED;
    np_parked *receiver = np_lot_first(&c->receivers);
    if (receiver == NULL)
        return c->len < c->capacity ? put(c, item) : wait_to_send(c, item, ret_future);
    np_lot_let_go(receiver, item);
    return 0;
}

int32_t neap_chan_send_int(neap_chan *chan, int64_t value, neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_INT, .i = value};
    return send(chan, &item, ret_future);
}

int32_t neap_chan_send_ptr(neap_chan *chan, const void *tag, void *ptr, neap_destroy_fn destroy_ptr,
                           neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_PTR, .tag = tag, .ptr = ptr, .destroy = destroy_ptr};
    int32_t rc = send(chan, &item, ret_future);
    if (rc < 0 && rc != NEAP_PENDING)
        np_item_drop(&item);
    return rc;
}

/* ---- Receiving */

static int32_t answer(const np_item *item, neap_value *ret_value) {
    memset(ret_value, 0, sizeof *ret_value);
    if (item->kind == NEAP_KIND_INT) {
        ret_value->i = item->i;
    } else {
        ret_value->ptr.tag = item->tag;
        ret_value->ptr.ptr = item->ptr;
    }
    return item->kind;
}

/* The oldest sender's item, which is done with that. */
static np_item take_from(np_parked *sender) {
    np_item item = sender->item;
    sender->item = (np_item){.kind = NEAP_KIND_NONE};
    np_lot_let_go(sender, NULL);
    return item;
}

static np_item next_item(neap_chan *c) {
    np_parked *sender = np_lot_first(&c->senders);
    if (c->len == 0)
        return take_from(sender);
    np_item item = take(c);
    if (sender != NULL) {
        np_item follows = take_from(sender);
        (void)put(c, &follows); /* in the place that has just come up */
    }
    return item;
}

int32_t neap_chan_recv(neap_chan *chan, neap_value *ret_value, size_t size,
                       neap_future **ret_future) {
    bool usable = chan != NULL && ret_value != NULL && size >= sizeof *ret_value;
    int32_t rc = usable ? np_enter(chan->obj.loop) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    if (chan->len > 0 || np_lot_first(&chan->senders) != NULL) {
        np_item item = next_item(chan);
        return answer(&item, ret_value);
    }
    if (chan->closed)
        return NEAP_ECLOSED;
    if (ret_future == NULL)
        return NEAP_EAGAIN;
    np_parked *p = np_lot_park(&chan->receivers, &chan->obj);
    if (p == NULL)
        return NEAP_ENOMEM;
    (void)np_future_give(&p->f, ret_future);
    return NEAP_PENDING;
}

/* ---- Closing */

int32_t neap_chan_close(neap_chan *chan) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_enter(chan->obj.loop);
    if (rc < 0 || chan->closed)
        return rc;
    np_parked *p;
    chan->closed = true;
    np_obj_ref(&chan->obj);
    while ((p = np_lot_first(&chan->senders)) != NULL)
        np_lot_refuse(p, NEAP_ECLOSED);
    while ((p = np_lot_first(&chan->receivers)) != NULL)
        np_lot_refuse(p, NEAP_ECLOSED);
    np_obj_unref(&chan->obj);
    return 1;
}

int32_t neap_chan_is_closed(neap_chan *chan) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_look(chan->obj.loop);
    return rc < 0 ? rc : chan->closed;
}

int64_t neap_chan_len(neap_chan *chan) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_look(chan->obj.loop);
    return rc < 0 ? rc : (int64_t)chan->len;
}
