/* lot.c: waiting in a fair queue. */
#include "core/lot.h"

#include "core/task.h"

void np_item_drop(np_item *item) {
    neap_destroy_fn destroy = item->destroy;
    item->kind = NEAP_KIND_NONE;
    item->destroy = NULL;
    if (destroy != NULL)
        destroy(item->ptr);
}

void np_item_give(np_item *item, neap_future *f) {
    f->kind = item->kind;
    if (item->kind == NEAP_KIND_PTR) {
        f->value.ptr.tag = item->tag;
        f->value.ptr.ptr = item->ptr;
        f->value.ptr.destroy = item->destroy;
    } else if (item->kind == NP_KIND_BUF) {
        f->value.buf = item->ptr;
    } else if (item->kind == NEAP_KIND_DOUBLE) {
        f->value.d = item->d;
    } else {
        f->value.i = item->i;
    }
    item->kind = NEAP_KIND_NONE;
    item->destroy = NULL;
}

uint64_t np_current_task_id(const neap_loop *loop) {
    return loop->current != NULL ? loop->current->id : 0;
}

void np_lot_init(np_lot *lot, np_obj *owner) {
    np_list_init(&lot->parked);
    lot->len = 0;
    lot->owner = owner;
}

static np_parked *of_future(neap_future *f) {
    return np_container(f, np_parked, f);
}

/* ---- In and out */

static void join(np_parked *p, np_lot *lot) {
    np_obj_ref(lot->owner);
    np_list_append(&lot->parked, &p->link);
    lot->len++;
    p->lot = lot;
}

static void leave(np_parked *p) {
    np_lot *lot = p->lot;
    if (lot == NULL)
        return;
    p->lot = NULL;
    lot->len--;
    np_list_unlink(&p->link);
    np_obj_unref(lot->owner);
}

void np_lot_move(np_parked *p, np_lot *to) {
    leave(p);
    join(p, to);
}

void np_lot_fini(np_parked *p) {
    leave(p);
    np_item_drop(&p->item);
    np_future_fini(&p->f);
}

static void destroy(np_obj *obj) {
    np_lot_fini(of_future(np_container(obj, neap_future, obj)));
    np_obj_free(obj, sizeof(np_parked));
}

static int32_t cancel(neap_future *f, const char *msg) {
    np_lot_cancel(of_future(f), msg);
    return 1;
}

static void end(neap_future *f) {
    np_lot_refuse(of_future(f), NEAP_ECLOSED);
}

const char *np_lot_what(const neap_future *f) {
    const np_lot *lot = np_container(f, np_parked, f)->lot;
    return lot != NULL ? lot->owner->type->name : "its turn";
}

uint64_t np_lot_holder(const neap_future *f) {
    const np_lot *lot = np_container(f, np_parked, f)->lot;
    const np_type *type = lot != NULL ? lot->owner->type : NULL;
    return type != NULL && type->holder != NULL ? type->holder(lot->owner) : 0;
}

static const np_future_type parked_type = {.base = {.name = "parked", .destroy = destroy},
                                           .cancel = cancel,
                                           .end = end,
                                           .what = np_lot_what,
                                           .holder = np_lot_holder};

np_parked *np_lot_park(np_lot *lot, const np_future_type *type, size_t size) {
    neap_loop *loop = lot->owner->loop;
    neap_future *f = type != NULL ? np_future_new(loop, type, size)
                                  : np_future_new(loop, &parked_type, sizeof(np_parked));
    if (f == NULL)
        return NULL;
    np_parked *p = of_future(f);
    f->flags |= NP_F_RESOURCE;
    p->task = np_current_task_id(loop);
    np_list_init(&p->link);
    join(p, lot);
    return p;
}

int32_t np_lot_wait(np_lot *lot, neap_future **ret_future) {
    if (ret_future == NULL)
        return NEAP_EAGAIN;
    np_parked *p = np_lot_park(lot, NULL, 0);
    if (p == NULL)
        return NEAP_ENOMEM;
    (void)np_future_give(&p->f, ret_future);
    return NEAP_PENDING;
}

/* ---- Let go */

void np_lot_let_go(np_parked *p, np_item *item) {
    np_future_ref(&p->f);
    leave(p);
    if (item != NULL)
        np_item_give(item, &p->f);
    np_future_settle_at_once(&p->f, NEAP_STATE_RESULT);
    np_future_unref(&p->f);
}

void np_lot_refuse(np_parked *p, int32_t code) {
    np_future_ref(&p->f);
    leave(p);
    np_item_drop(&p->item);
    p->f.code = code;
    np_future_settle_at_once(&p->f, NEAP_STATE_ERROR);
    np_future_unref(&p->f);
}

void np_lot_cancel(np_parked *p, const char *msg) {
    np_future_ref(&p->f);
    leave(p);
    np_item_drop(&p->item);
    np_future_settle_cancelled(&p->f, msg);
    np_future_unref(&p->f);
}

void np_lot_let_all_go(np_lot *lot) {
    np_parked *p;
    np_obj *owner = lot->owner;
    np_obj_ref(owner);
    while ((p = np_lot_first(lot)) != NULL)
        np_lot_let_go(p, NULL);
    np_obj_unref(owner);
}

void np_lot_refuse_all(np_lot *lot, int32_t code) {
    np_parked *p;
    np_obj *owner = lot->owner;
    np_obj_ref(owner);
    while ((p = np_lot_first(lot)) != NULL)
        np_lot_refuse(p, code);
    np_obj_unref(owner);
}
