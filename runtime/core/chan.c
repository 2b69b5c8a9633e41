/* chan.c: channels.  While receivers wait the store is empty and no sender waits; while senders wait the store is full: so a
   value always goes to the one who has waited longest, in the order in which values were sent or, in a channel that is ordered,
   by priority. */
#include <math.h>
#include <string.h>

#include "core/store.h"

struct neap_chan {
    np_obj obj;
    np_lot senders; /* with their items */
    np_lot receivers;
    np_lot joiners;
    np_store store;
    int64_t unfinished; /* values that were accepted, less those that were told to be done */
    bool closed;
};

/* ---- Made and gone */

static void destroy(np_obj *obj) {
    neap_chan *c = np_container(obj, neap_chan, obj);
    np_store_fini(&c->store);
    np_obj_free(obj, sizeof *c);
}

static const np_type chan_type = {.name = "a channel", .destroy = destroy};

static int32_t make(neap_loop *loop, size_t capacity, bool ordered, neap_chan **ret_chan) {
    int32_t rc = loop == NULL || ret_chan == NULL ? NEAP_EINVAL : np_enter(loop);
    neap_chan *c = rc < 0 ? NULL : np_obj_new(loop, &chan_type, sizeof *c);
    if (c == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_lot_init(&c->senders, &c->obj);
    np_lot_init(&c->receivers, &c->obj);
    np_lot_init(&c->joiners, &c->obj);
    np_store_init(&c->store, loop->alloc, capacity, ordered);
    np_obj_publish(&c->obj);
    *ret_chan = c;
    return 0;
}

int32_t neap_chan_new(neap_loop *loop, size_t capacity, neap_chan **ret_chan) {
    return make(loop, capacity, false, ret_chan);
}

int32_t neap_chan_new_ordered(neap_loop *loop, size_t capacity, neap_chan **ret_chan) {
    return make(loop, capacity, true, ret_chan);
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
    np_parked *p = np_lot_park(&c->senders, NULL, 0);
    if (p == NULL)
        return NEAP_ENOMEM;
    p->item = *item;
    (void)np_future_give(&p->f, ret_future);
    return NEAP_PENDING;
}

/* A receiver has it, or the store. */
static int32_t accept(neap_chan *c, np_item *item) {
    np_parked *receiver = np_lot_first(&c->receivers);
    if (receiver == NULL && np_store_put(&c->store, item) < 0)
        return NEAP_ENOMEM;
    c->unfinished++;
    if (receiver != NULL)
        np_lot_let_go(receiver, item);
    return 0;
}

static int32_t send(neap_chan *c, np_item *item, neap_future **ret_future) {
    int32_t rc = c == NULL               ? NEAP_EINVAL
                 : isnan(item->priority) ? NEAP_EVALUE
                                         : np_enter(c->obj.loop);
    if (rc < 0)
        return rc;
    if (c->closed)
        return NEAP_ECLOSED;
    if (c->receivers.len == 0 && np_store_is_full(&c->store))
        return wait_to_send(c, item, ret_future);
    return accept(c, item);
}

int32_t neap_chan_put_int(neap_chan *chan, double priority, int64_t value,
                          neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_INT, .i = value, .priority = priority};
    return send(chan, &item, ret_future);
}

int32_t neap_chan_put_ptr(neap_chan *chan, double priority, const void *tag, void *ptr,
                          neap_destroy_fn destroy_ptr, neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_PTR,
                    .tag = tag,
                    .ptr = ptr,
                    .destroy = destroy_ptr,
                    .priority = priority};
    int32_t rc = send(chan, &item, ret_future);
    if (rc < 0 && rc != NEAP_PENDING)
        np_item_drop(&item);
    return rc;
}

int32_t neap_chan_send_int(neap_chan *chan, int64_t value, neap_future **ret_future) {
    return neap_chan_put_int(chan, 0, value, ret_future);
}

int32_t neap_chan_send_ptr(neap_chan *chan, const void *tag, void *ptr, neap_destroy_fn destroy_ptr,
                           neap_future **ret_future) {
    return neap_chan_put_ptr(chan, 0, tag, ptr, destroy_ptr, ret_future);
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
static np_item take_from(neap_chan *c, np_parked *sender) {
    np_item item = sender->item;
    c->unfinished++;
    sender->item = (np_item){.kind = NEAP_KIND_NONE};
    np_lot_let_go(sender, NULL);
    return item;
}

static np_item next_item(neap_chan *c) {
    np_parked *sender = np_lot_first(&c->senders);
    if (c->store.len == 0)
        return take_from(c, sender);
    np_item item = np_store_take(&c->store);
    if (sender != NULL) {
        np_item follows = take_from(c, sender);
        (void)np_store_put(&c->store, &follows); /* in the place of the one taken */
    }
    return item;
}

int32_t neap_chan_recv(neap_chan *chan, neap_value *ret_value, size_t size,
                       neap_future **ret_future) {
    bool usable = chan != NULL && ret_value != NULL && size >= sizeof *ret_value;
    int32_t rc = usable ? np_enter(chan->obj.loop) : NEAP_EINVAL;
    if (rc < 0)
        return rc;
    if (chan->store.len > 0 || chan->senders.len > 0) {
        np_item item = next_item(chan);
        return answer(&item, ret_value);
    }
    if (chan->closed)
        return NEAP_ECLOSED;
    return np_lot_wait(&chan->receivers, ret_future);
}

/* ---- Done */

int32_t neap_chan_task_done(neap_chan *chan) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_enter(chan->obj.loop);
    if (rc == 0 && chan->unfinished == 0)
        rc = NEAP_EINVALID_STATE;
    if (rc < 0)
        return rc;
    if (--chan->unfinished == 0)
        np_lot_let_all_go(&chan->joiners);
    return 0;
}

int32_t neap_chan_join(neap_chan *chan, neap_future **ret_future) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_enter(chan->obj.loop);
    if (rc < 0 || chan->unfinished == 0)
        return rc;
    return np_lot_wait(&chan->joiners, ret_future);
}

/* ---- Closing */

int32_t neap_chan_close(neap_chan *chan) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_enter(chan->obj.loop);
    if (rc < 0 || chan->closed)
        return rc;
    chan->closed = true;
    np_obj_ref(&chan->obj);
    np_lot_refuse_all(&chan->senders, NEAP_ECLOSED);
    np_lot_refuse_all(&chan->receivers, NEAP_ECLOSED);
    np_obj_unref(&chan->obj);
    return 1;
}

int32_t neap_chan_is_closed(neap_chan *chan) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_look(chan->obj.loop);
    return rc < 0 ? rc : chan->closed;
}

int64_t neap_chan_len(neap_chan *chan) {
    int32_t rc = chan == NULL ? NEAP_EINVAL : np_look(chan->obj.loop);
    return rc < 0 ? rc : (int64_t)chan->store.len;
}
