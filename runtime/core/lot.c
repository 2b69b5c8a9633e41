#include "core/lot.h"

#include "core/task.h"

void np_item_drop(np_item *item) {
    neap_destroy_fn destroy = item->destroy;
    item->kind = NEAP_KIND_NONE;
    item->destroy = NULL;
    if (destroy != NULL)
        destroy(item->ptr);
}

uint64_t np_current_task_id(const neap_loop *loop) {
    return loop->current != NULL ? loop->current->id : 0;
}

static void leave(np_parked *p) {
    np_obj *owner = p->owner;
    if (owner == NULL)
        return;
    p->owner = NULL;
    np_list_unlink(&p->link);
    np_obj_unref(owner);
}

static np_parked *of_future(neap_future *f) {
    return np_container(f, np_parked, f);
}

static void destroy(np_obj *obj) {
    np_parked *p = of_future(np_container(obj, neap_future, obj));
    leave(p);
    np_item_drop(&p->item);
    np_future_fini(&p->f);
    np_obj_free(obj, sizeof *p);
}

static int32_t cancel(neap_future *f, const char *msg) {
    leave(of_future(f));
    np_item_drop(&of_future(f)->item);
    np_future_settle_cancelled(f, msg);
    return 1;
}

static void end(neap_future *f) {
    np_lot_refuse(of_future(f), NEAP_ECLOSED);
}

static const np_obj *owner_of(const neap_future *f) {
    return np_container(f, np_parked, f)->owner;
}

static const char *what(const neap_future *f) {
    return owner_of(f)->type->name;
}

static uint64_t holder(const neap_future *f) {
    const np_obj *owner = owner_of(f);
    return owner->type->holder != NULL ? owner->type->holder(owner) : 0;
}

static const np_future_type parked_type = {.base = {.name = "parked", .destroy = destroy},
                                           .cancel = cancel,
                                           .end = end,
                                           .what = what,
                                           .holder = holder};

np_parked *np_lot_park(np_lot *lot, np_obj *owner) {
    neap_loop *loop = owner->loop;
    neap_future *f = np_future_new(loop, &parked_type, sizeof(np_parked));
    if (f == NULL)
        return NULL;
    np_parked *p = of_future(f);
    f->flags |= NP_F_RESOURCE;
    np_obj_ref(owner);
    p->owner = owner;
    p->task = np_current_task_id(loop);
    np_list_init(&p->link);
    np_list_append(&lot->parked, &p->link);
    return p;
}

static void hand_over(neap_future *f, np_item *item) {
    f->kind = item->kind;
    if (item->kind == NEAP_KIND_INT) {
        f->value.i = item->i;
    } else {
        f->value.ptr.tag = item->tag;
        f->value.ptr.ptr = item->ptr;
        f->value.ptr.destroy = item->destroy;
    }
    item->kind = NEAP_KIND_NONE;
    item->destroy = NULL;
}

void np_lot_let_go(np_parked *p, np_item *item) {
    np_future_ref(&p->f);
    leave(p);
    if (item != NULL)
        hand_over(&p->f, item);
    np_future_settle(&p->f, NEAP_STATE_RESULT);
    np_future_unref(&p->f);
}

void np_lot_refuse(np_parked *p, int32_t code) {
    np_future_ref(&p->f);
    leave(p);
    np_item_drop(&p->item);
    np_future_settle_error(&p->f, code, NULL);
    np_future_unref(&p->f);
}
