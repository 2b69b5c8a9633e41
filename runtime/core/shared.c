/* shared.c: channels between threads.  One mutex guards what a channel has; under it nobody is called but the allocator.

   Who waits is a node with memory of its own, because the future that it completes belongs to the thread of its loop.
   - Waiting: in a queue of the channel.  Its future lives, and takes it out when it is cancelled or goes.
   - Answered: out of the queue.  What it gets stands in it, and its mail is on the way to its loop; that frees it.
   An answer for a receiver that is gone by then goes to the next, or back into the channel, in front.  So a value is
   received once or still there, whoever is cancelled. */
#include <string.h>

#include "core/buf.h"
#include "core/store.h"

struct neap_shared_chan {
    np_alloc *alloc;
    atomic_uint refs;
    pthread_mutex_t lock;
    np_list senders; /* nodes; with their items */
    np_list receivers;
    np_list returned; /* nodes with items that came back; their loops may be gone */
    np_store store;
    bool closed;
};

typedef struct node {
    np_obj post; /* only its mail, loop and type */
    np_list link;
    neap_shared_chan *chan; /* a reference */
    neap_future *f;         /* of the loop's thread; NULL: gone */
    np_item item;
    int32_t code; /* of the answer */
    bool receives;
    bool waiting;
} node;

typedef struct crossing {
    neap_future f;
    node *node; /* NULL: it has let go */
} crossing;

static crossing *of_future(neap_future *f) {
    return np_container(f, crossing, f);
}

/* ---- Made and gone */

int32_t neap_shared_chan_new(const neap_allocator *allocator, size_t capacity,
                             neap_shared_chan **ret_chan) {
    np_alloc *alloc = ret_chan == NULL ? NULL : np_alloc_new(allocator);
    neap_shared_chan *c = alloc == NULL ? NULL : np_alloc_get(alloc, sizeof *c);
    if (c == NULL) {
        if (alloc != NULL)
            np_alloc_unref(alloc);
        return ret_chan == NULL ? NEAP_EINVAL : NEAP_ENOMEM;
    }
    memset(c, 0, sizeof *c);
    c->alloc = alloc;
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->lock, NULL);
    np_list_init(&c->senders);
    np_list_init(&c->receivers);
    np_list_init(&c->returned);
    np_store_init(&c->store, alloc, capacity, false);
    *ret_chan = c;
    return 0;
}

neap_shared_chan *neap_shared_chan_ref(neap_shared_chan *chan) {
    atomic_fetch_add_explicit(&chan->refs, 1, memory_order_relaxed);
    return chan;
}

static void free_node(node *n) {
    np_alloc *alloc = n->chan->alloc;
    np_item_drop(&n->item);
    np_alloc_put(alloc, n, sizeof *n);
}

/* Waiting nodes have references, so there are none. */
void neap_shared_chan_unref(neap_shared_chan *chan) {
    if (chan == NULL || atomic_fetch_sub_explicit(&chan->refs, 1, memory_order_acq_rel) != 1)
        return;
    np_alloc *alloc = chan->alloc;
    while (!np_list_empty(&chan->returned))
        free_node(np_container(np_list_pop(&chan->returned), node, link));
    np_store_fini(&chan->store);
    pthread_mutex_destroy(&chan->lock);
    np_alloc_put(alloc, chan, sizeof *chan);
    np_alloc_unref(alloc);
}

static void end_node(node *n) {
    neap_shared_chan *chan = n->chan;
    free_node(n);
    neap_shared_chan_unref(chan);
}

/* ---- Answers */

static void arrived(np_obj *obj, bool discard);

static const np_type post_type = {.name = "shared channel", .arrived = arrived};

/* Under the lock: the node leaves its queue with its answer.  Its loop stays until the mail is there. */
static node *take_waiting(np_list *queue, int32_t code) {
    node *n = np_container(np_list_pop(queue), node, link);
    n->waiting = false;
    n->code = code;
    np_loop_keep(n->post.loop);
    return n;
}

/* Not under the lock. */
static void answer(node *n) {
    neap_loop *loop = n->post.loop;
    if (np_enter(loop) == 0) {
        arrived(&n->post, false);
    } else {
        np_mailbox_put_always(&loop->mail, &n->post.mail);
        np_loop_wake_if_asleep(loop);
    }
    np_loop_let_go(loop);
}

/* A value for a receiver that is gone. */
static void give_back(node *n) {
    neap_shared_chan *c = n->chan;
    node *next = NULL;
    pthread_mutex_lock(&c->lock);
    if (!np_list_empty(&c->receivers)) {
        next = take_waiting(&c->receivers, 0);
        next->item = n->item;
        n->item.kind = NEAP_KIND_NONE;
        n->item.destroy = NULL;
    } else {
        np_list_append(&c->returned, &n->link);
    }
    pthread_mutex_unlock(&c->lock);
    if (next == NULL) {
        neap_shared_chan_unref(c); /* the node stays as a part of the channel */
        return;
    }
    answer(next);
    end_node(n);
}

static void settle(node *n) {
    neap_future *f = n->f;
    np_future_ref(f);
    of_future(f)->node = NULL;
    n->f = NULL;
    f->code = n->code;
    if (n->code == 0 && n->receives)
        np_item_give(&n->item, f);
    np_future_settle_at_once(f, n->code == 0 ? NEAP_STATE_RESULT : NEAP_STATE_ERROR);
    np_future_unref(f);
}

/* The mail of an answered node; the loop is closed if `discard`. */
static void arrived(np_obj *obj, bool discard) {
    node *n = np_container(obj, node, post);
    (void)discard;
    n->post.loop->holds--;
    bool gone = n->f == NULL;
    if (!gone)
        settle(n);
    if (gone && n->receives && n->code == 0)
        give_back(n);
    else
        end_node(n);
}

/* ---- Waiting */

/* The future goes its own way.  NEAP_PENDING if the node had no answer yet, else that. */
static int32_t part(crossing *x) {
    node *n = x->node;
    if (n == NULL)
        return NEAP_PENDING;
    pthread_mutex_lock(&n->chan->lock);
    int32_t answered = n->waiting ? NEAP_PENDING : n->code;
    if (n->waiting)
        np_list_unlink(&n->link);
    n->waiting = false;
    pthread_mutex_unlock(&n->chan->lock);
    x->node = NULL;
    n->f = NULL;
    if (answered == NEAP_PENDING) {
        n->post.loop->holds--;
        end_node(n);
    }
    return answered;
}

static void destroy(np_obj *obj) {
    crossing *x = of_future(np_container(obj, neap_future, obj));
    (void)part(x);
    np_future_fini(&x->f);
    np_obj_free(obj, sizeof *x);
}

/* A value that is on its way to a receiver goes back; one that was sent has gone, and its sender hears so. */
static int32_t cancel(neap_future *f, const char *msg) {
    crossing *x = of_future(f);
    bool receives = x->node->receives;
    f->code = part(x);
    if (receives || f->code == NEAP_PENDING) {
        f->code = 0;
        np_future_settle_cancelled(f, msg);
        return 1;
    }
    np_future_settle(f, f->code == 0 ? NEAP_STATE_RESULT : NEAP_STATE_ERROR);
    return 0;
}

static void end(neap_future *f) {
    (void)part(of_future(f));
    np_future_settle_error(f, NEAP_ECLOSED, NULL);
}

static const char *what(const neap_future *f) {
    (void)f;
    return "a shared channel";
}

static const np_future_type crossing_type = {
    .base = {.name = "crossing", .destroy = destroy}, .cancel = cancel, .end = end, .what = what};

static neap_future *new_future(neap_loop *loop) {
    neap_future *f = np_future_new(loop, &crossing_type, sizeof(crossing));
    if (f != NULL)
        f->flags |= NP_F_RESOURCE;
    return f;
}

/* Under the lock: the future waits in the queue. */
static int32_t wait_in(np_list *queue, neap_shared_chan *c, neap_future *f, const np_item *item) {
    node *n = np_alloc_get(c->alloc, sizeof *n);
    if (n == NULL)
        return NEAP_ENOMEM;
    memset(n, 0, sizeof *n);
    n->post.loop = f->obj.loop;
    n->post.type = &post_type;
    n->chan = neap_shared_chan_ref(c);
    n->f = f;
    n->receives = item == NULL;
    if (item != NULL)
        n->item = *item;
    n->waiting = true;
    np_list_append(queue, &n->link);
    of_future(f)->node = n;
    f->obj.loop->holds++;
    return NEAP_PENDING;
}

/* ---- Sending */

/* Under the lock: the sender waits. */
static int32_t wait_to_send(neap_shared_chan *c, neap_loop *loop, const np_item *item,
                            neap_future **ret_future) {
    neap_future *f = new_future(loop);
    int32_t rc = f == NULL ? NEAP_ENOMEM : wait_in(&c->senders, c, f, item);
    if (rc == NEAP_PENDING)
        (void)np_future_give(f, ret_future);
    else if (f != NULL)
        np_future_unref(f);
    return rc;
}

static int32_t send_locked(neap_shared_chan *c, neap_loop *loop, const np_item *item,
                           neap_future **ret_future, node **ret_receiver) {
    if (c->closed)
        return NEAP_ECLOSED;
    if (!np_list_empty(&c->receivers)) {
        *ret_receiver = take_waiting(&c->receivers, 0);
        (*ret_receiver)->item = *item;
        return 0;
    }
    if (!np_store_is_full(&c->store))
        return np_store_put(&c->store, item);
    return ret_future == NULL ? NEAP_EAGAIN : wait_to_send(c, loop, item, ret_future);
}

/* The item goes if this fails. */
static int32_t send(neap_shared_chan *c, neap_loop *loop, np_item *item, neap_future **ret_future) {
    node *receiver = NULL;
    bool usable = c != NULL && (ret_future == NULL || loop != NULL);
    int32_t rc = !usable ? NEAP_EINVAL : loop != NULL ? np_enter(loop) : 0;
    if (rc == 0) {
        pthread_mutex_lock(&c->lock);
        rc = send_locked(c, loop, item, ret_future, &receiver);
        pthread_mutex_unlock(&c->lock);
    }
    if (receiver != NULL)
        answer(receiver);
    if (rc < 0 && rc != NEAP_PENDING)
        np_item_drop(item);
    return rc;
}

int32_t neap_shared_chan_send_int(neap_shared_chan *chan, neap_loop *loop, int64_t value,
                                  neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_INT, .i = value};
    return send(chan, loop, &item, ret_future);
}

int32_t neap_shared_chan_send_double(neap_shared_chan *chan, neap_loop *loop, double value,
                                     neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_DOUBLE, .d = value};
    return send(chan, loop, &item, ret_future);
}

int32_t neap_shared_chan_send_bool(neap_shared_chan *chan, neap_loop *loop, int32_t value,
                                   neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_BOOL, .i = value != 0};
    return send(chan, loop, &item, ret_future);
}

static void drop_buf(void *buf) {
    neap_buf_unref(buf);
}

int32_t neap_shared_chan_send_bytes(neap_shared_chan *chan, neap_loop *loop, const void *data,
                                    size_t len, neap_future **ret_future) {
    if (chan == NULL || (data == NULL && len > 0))
        return NEAP_EINVAL;
    neap_buf *buf = np_buf_new(chan->alloc, len);
    if (buf == NULL)
        return NEAP_ENOMEM;
    if (len > 0)
        memcpy(np_buf_bytes(buf), data, len);
    np_buf_set_len(buf, len);
    np_item item = {.kind = NP_KIND_BUF, .ptr = buf, .destroy = drop_buf};
    return send(chan, loop, &item, ret_future);
}

int32_t neap_shared_chan_send_ptr(neap_shared_chan *chan, neap_loop *loop, const void *tag,
                                  void *ptr, neap_destroy_fn destroy_ptr,
                                  neap_future **ret_future) {
    np_item item = {.kind = NEAP_KIND_PTR, .tag = tag, .ptr = ptr, .destroy = destroy_ptr};
    return send(chan, loop, &item, ret_future);
}

/* ---- Receiving */

static np_item move_out(np_item *from) {
    np_item item = *from;
    *from = (np_item){.kind = NEAP_KIND_NONE};
    return item;
}

/* Under the lock: the oldest value; the sender whose own comes in for it is to be answered. */
static bool take_locked(neap_shared_chan *c, np_item *ret_item, node **ret_sender) {
    bool waits = !np_list_empty(&c->senders), stored = c->store.len > 0;
    if (!stored && !waits)
        return false;
    if (stored)
        *ret_item = np_store_take(&c->store);
    if (!waits)
        return true;
    *ret_sender = take_waiting(&c->senders, 0);
    np_item sent = move_out(&(*ret_sender)->item);
    if (stored)
        (void)np_store_put(&c->store, &sent); /* in the place of the one taken */
    else
        *ret_item = sent;
    return true;
}

/* What came back stands in front. */
static bool take_returned(neap_shared_chan *c, np_item *ret_item) {
    if (np_list_empty(&c->returned))
        return false;
    node *n = np_container(np_list_pop(&c->returned), node, link);
    *ret_item = move_out(&n->item);
    free_node(n);
    return true;
}

/* The future is done, or waits. */
static int32_t receive(neap_shared_chan *c, neap_future *f, bool may_wait) {
    node *sender = NULL;
    np_item item;
    int32_t rc = 0;
    pthread_mutex_lock(&c->lock);
    if (!take_returned(c, &item) && !take_locked(c, &item, &sender))
        rc = c->closed   ? NEAP_ECLOSED
             : !may_wait ? NEAP_EAGAIN
                         : wait_in(&c->receivers, c, f, NULL);
    pthread_mutex_unlock(&c->lock);
    if (sender != NULL)
        answer(sender);
    if (rc < 0)
        return rc;
    np_item_give(&item, f);
    np_future_settle(f, NEAP_STATE_RESULT);
    return 0;
}

int32_t neap_shared_chan_recv(neap_shared_chan *chan, neap_loop *loop, uint32_t flags,
                              neap_future **ret_future) {
    bool usable =
        chan != NULL && loop != NULL && ret_future != NULL && (flags & ~(uint32_t)NEAP_NOWAIT) == 0;
    int32_t rc = usable ? np_enter(loop) : NEAP_EINVAL;
    neap_future *f = rc < 0 ? NULL : new_future(loop);
    if (f == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    rc = receive(chan, f, (flags & NEAP_NOWAIT) == 0);
    if (rc < 0 && rc != NEAP_PENDING)
        np_future_unref(f);
    else
        (void)np_future_give(f, ret_future);
    return rc;
}

/* ---- Closing */

static void refuse_all(np_list *nodes, np_list *queue) {
    while (!np_list_empty(queue)) {
        node *n = take_waiting(queue, NEAP_ECLOSED);
        np_list_append(nodes, &n->link);
    }
}

int32_t neap_shared_chan_close(neap_shared_chan *chan) {
    if (chan == NULL)
        return NEAP_EINVAL;
    np_list refused;
    np_list_init(&refused);
    pthread_mutex_lock(&chan->lock);
    bool closed = chan->closed;
    chan->closed = true;
    refuse_all(&refused, &chan->senders);
    refuse_all(&refused, &chan->receivers);
    pthread_mutex_unlock(&chan->lock);
    while (!np_list_empty(&refused))
        answer(np_container(np_list_pop(&refused), node, link));
    return !closed;
}

int32_t neap_shared_chan_is_closed(neap_shared_chan *chan) {
    if (chan == NULL)
        return NEAP_EINVAL;
    pthread_mutex_lock(&chan->lock);
    bool closed = chan->closed;
    pthread_mutex_unlock(&chan->lock);
    return closed;
}

int64_t neap_shared_chan_len(neap_shared_chan *chan) {
    if (chan == NULL)
        return NEAP_EINVAL;
    pthread_mutex_lock(&chan->lock);
    int64_t len = (int64_t)chan->store.len;
    for (np_list *at = chan->returned.next; at != &chan->returned; at = at->next)
        len++;
    pthread_mutex_unlock(&chan->lock);
    return len;
}
