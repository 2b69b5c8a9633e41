/* combine.c: gather, wait and select: a future over several.  Each member has a waiter node in the combination; a pending
   combination holds itself and its members. */
#include "base/clock.h"
#include "core/task.h"

typedef struct combination combination;

typedef struct member {
    np_waiter w;
    neap_future *f; /* held */
    combination *owner;
} member;

struct combination {
    neap_future f;
    np_timer timer;  /* of wait */
    size_t n;        /* members that are set */
    size_t room;     /* members that were allocated */
    size_t left;     /* members that are not done */
    int32_t mode;    /* NEAP_GATHER_* or NEAP_WAIT_* */
    bool cancelling; /* the members were told to stop */
    void (*member_done)(combination *c, const member *m);
    member members[];
};

static size_t size_for(size_t n) {
    return sizeof(combination) + n * sizeof(member);
}

static combination *of_future(neap_future *f) {
    return np_container(f, combination, f);
}

/* Nobody waits for the members any more; the list stays readable. */
static void detach(combination *c) {
    np_timer_stop(c->f.obj.loop, &c->timer);
    for (size_t i = 0; i < c->n; i++)
        if (c->members[i].w.node.where != NP_AT_NONE)
            np_dequeue(&c->members[i].w.node);
}

static void destroy(np_obj *obj) {
    combination *c = of_future(np_container(obj, neap_future, obj));
    detach(c);
    for (size_t i = 0; i < c->n; i++)
        np_future_unref(c->members[i].f);
    np_future_fini(&c->f);
    np_obj_free(obj, size_for(c->room));
}

static void finish(combination *c, uint8_t state) {
    detach(c);
    np_future_settle(&c->f, state);
    np_future_deactivate(&c->f);
}

static void end(neap_future *f) {
    f->code = NEAP_ECLOSED;
    finish(of_future(f), NEAP_STATE_ERROR);
}

/* ---- gather */

static bool cancel_members(combination *c, const char *msg) {
    bool any = false;
    c->cancelling = true;
    for (size_t i = 0; i < c->n; i++)
        any |= np_future_cancel(c->members[i].f, msg) != 0;
    return any;
}

static int32_t cancel_gather(neap_future *f, const char *msg) {
    return cancel_members(of_future(f), msg);
}

static size_t count_state(const combination *c, uint8_t state) {
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->members[i].f->state == state;
    return n;
}

static void finish_gather(combination *c) {
    bool lenient = (c->mode & NEAP_GATHER_RETURN_ERRORS) != 0 && !c->cancelling;
    if (lenient || count_state(c, NEAP_STATE_RESULT) == c->n) {
        finish(c, NEAP_STATE_RESULT);
    } else if (count_state(c, NEAP_STATE_ERROR) > 0) {
        c->f.code = NEAP_EGROUP;
        finish(c, NEAP_STATE_ERROR);
    } else {
        finish(c, NEAP_STATE_CANCELLED);
    }
}

static void member_gathered(combination *c, const member *m) {
    bool lenient = (c->mode & NEAP_GATHER_RETURN_ERRORS) != 0;
    if (m->f->state != NEAP_STATE_RESULT && !lenient && !c->cancelling)
        cancel_members(c, "another member of the gather failed");
    if (c->left == 0)
        finish_gather(c);
}

/* ---- wait */

static int32_t cancel_wait(neap_future *f, const char *msg) {
    np_future_set_message(f, msg);
    finish(of_future(f), NEAP_STATE_CANCELLED);
    return 1;
}

static void wait_timed_out(neap_loop *loop, np_timer *t, bool ended) {
    (void)loop;
    if (!ended)
        finish(np_container(t, combination, timer), NEAP_STATE_RESULT);
}

static void member_waited(combination *c, const member *m) {
    bool enough = c->mode == NEAP_WAIT_FIRST_COMPLETED ||
                  (c->mode == NEAP_WAIT_FIRST_EXCEPTION && m->f->state == NEAP_STATE_ERROR);
    if (enough || c->left == 0)
        finish(c, NEAP_STATE_RESULT);
}

/* ---- select */

/* The others hear it before anything else can complete them: a member that waits in a queue calls this from there. */
static void member_selected(combination *c, const member *m) {
    np_future_ref(&c->f);
    c->f.kind = NEAP_KIND_INT;
    c->f.value.i = m - c->members;
    c->f.flags |= m->f->flags & NP_F_RESOURCE;
    finish(c, NEAP_STATE_RESULT);
    for (size_t i = 0; i < c->n; i++)
        if (c->members[i].f != m->f)
            np_future_cancel(c->members[i].f, "another case of the select was first");
    np_future_unref(&c->f);
}

/* What a member has taken already is not thrown away. */
static int32_t cancel_select(neap_future *f, const char *msg) {
    combination *c = of_future(f);
    for (size_t i = 0; i < c->n; i++) {
        if (np_holds_resource(c->members[i].f)) {
            member_selected(c, &c->members[i]);
            return 0;
        }
    }
    np_future_ref(f);
    np_future_set_message(f, msg);
    finish(c, NEAP_STATE_CANCELLED);
    cancel_members(c, msg);
    np_future_unref(f);
    return 1;
}

/* ---- All of them */

static void member_done(np_waiter *w) {
    member *m = np_container(w, member, w);
    np_future_seen(m->f);
    m->owner->left--;
    m->owner->member_done(m->owner, m);
}

static neap_future *part(const neap_future *f, size_t i) {
    const combination *c = np_container(f, combination, f);
    return i < c->n ? c->members[i].f : NULL;
}

static const np_future_type gather_type = {
    .base = {.name = "all", .destroy = destroy}, .cancel = cancel_gather, .end = end, .part = part};
static const np_future_type wait_type = {
    .base = {.name = "some", .destroy = destroy}, .cancel = cancel_wait, .end = end, .part = part};
static const np_future_type select_type = {.base = {.name = "the first", .destroy = destroy},
                                           .cancel = cancel_select,
                                           .end = end,
                                           .part = part};

static int32_t check(neap_loop *loop, neap_future *const *futures, size_t n) {
    int32_t rc = loop == NULL || (futures == NULL && n > 0) ? NEAP_EINVAL : np_enter(loop);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = futures[i] == NULL ? NEAP_EINVAL : futures[i]->obj.loop != loop ? NEAP_EOTHER_LOOP : 0;
    return rc;
}

static void add_member(combination *c, neap_future *f) {
    member *m = &c->members[c->n++];
    np_ready_init(&m->w.node, NP_RUN_WAITER);
    m->w.fire = member_done;
    m->w.at_once = c->f.obj.type == &select_type.base;
    m->owner = c;
    m->f = f;
    np_future_ref(f);
}

/* A member that is done already counts like one that becomes done now: later. */
static void attach(combination *c) {
    c->left = c->n;
    for (size_t i = 0; i < c->n; i++) {
        member *m = &c->members[i];
        if (np_future_pending(m->f))
            np_future_wait(m->f, &m->w.node);
        else
            np_enqueue_waiter(c->f.obj.loop, &m->w);
    }
}

static combination *make(neap_loop *loop, const np_future_type *type, size_t n) {
    if (n > (SIZE_MAX - sizeof(combination)) / sizeof(member))
        return NULL;
    neap_future *f = np_future_new(loop, type, size_for(n));
    if (f == NULL)
        return NULL;
    combination *c = of_future(f);
    c->room = n;
    f->kind = NEAP_KIND_LIST;
    f->flags |= NP_F_ACTIVE;
    np_future_ref(f);
    np_timer_init(&c->timer, wait_timed_out);
    return c;
}

static void add_members(combination *c, neap_future *const *futures, size_t n) {
    for (size_t i = 0; i < n; i++)
        add_member(c, futures[i]);
}

int32_t neap_gather(neap_loop *loop, neap_future *const *futures, size_t n, uint32_t flags,
                    neap_future **ret_future) {
    int32_t rc = ret_future == NULL || (flags & ~(uint32_t)NEAP_GATHER_RETURN_ERRORS) != 0
                     ? NEAP_EINVAL
                     : check(loop, futures, n);
    combination *c = rc < 0 ? NULL : make(loop, &gather_type, n);
    if (c == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    c->member_done = member_gathered;
    c->mode = (int32_t)flags;
    add_members(c, futures, n);
    attach(c);
    np_future_give(&c->f, ret_future);
    if (n == 0)
        finish(c, NEAP_STATE_RESULT);
    return 0;
}

/* Each future once; the marks are gone when this returns. */
static void add_distinct(combination *c, neap_future *const *futures, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((futures[i]->flags & NP_F_MARKED) != 0)
            continue;
        futures[i]->flags |= NP_F_MARKED;
        add_member(c, futures[i]);
    }
    for (size_t i = 0; i < n; i++)
        futures[i]->flags &= (uint8_t)~NP_F_MARKED;
}

static size_t count_distinct(neap_future *const *futures, size_t n) {
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++) {
        distinct += (futures[i]->flags & NP_F_MARKED) == 0;
        futures[i]->flags |= NP_F_MARKED;
    }
    for (size_t i = 0; i < n; i++)
        futures[i]->flags &= (uint8_t)~NP_F_MARKED;
    return distinct;
}

int32_t neap_wait(neap_loop *loop, neap_future *const *futures, size_t n, int32_t when,
                  int64_t timeout_ns, neap_future **ret_future) {
    int32_t rc = ret_future == NULL || when < NEAP_WAIT_ALL || when > NEAP_WAIT_FIRST_EXCEPTION
                     ? NEAP_EINVAL
                     : check(loop, futures, n);
    if (rc == 0 && n == 0)
        rc = NEAP_EVALUE;
    combination *c = rc < 0 ? NULL : make(loop, &wait_type, count_distinct(futures, n));
    if (c == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    int64_t deadline = timeout_ns < 0 ? NP_NEVER : np_time_add(loop->now, timeout_ns);
    if (deadline != NP_NEVER && np_timer_start(loop, &c->timer, deadline) < 0) {
        np_future_deactivate(&c->f);
        np_future_unref(&c->f);
        return NEAP_ENOMEM;
    }
    c->member_done = member_waited;
    c->mode = when;
    add_distinct(c, futures, n);
    attach(c);
    return np_future_give(&c->f, ret_future);
}

int32_t neap_select(neap_loop *loop, neap_future *const *futures, size_t n,
                    neap_future **ret_future) {
    int32_t rc = ret_future == NULL ? NEAP_EINVAL : check(loop, futures, n);
    if (rc == 0 && n == 0)
        rc = NEAP_EVALUE;
    combination *c = rc < 0 ? NULL : make(loop, &select_type, n);
    if (c == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    c->member_done = member_selected;
    add_members(c, futures, n);
    attach(c);
    return np_future_give(&c->f, ret_future);
}

static combination *list_of(neap_future *f) {
    if (f == NULL || np_look(f->obj.loop) < 0)
        return NULL;
    f = np_future_origin(f);
    const np_type *type = f->obj.type;
    bool is = type == &gather_type.base || type == &wait_type.base || type == &select_type.base;
    return is ? of_future(f) : NULL;
}

int32_t neap_future_list_count(neap_future *future) {
    int32_t rc = future == NULL ? NEAP_EINVAL : np_look(future->obj.loop);
    if (rc < 0)
        return rc;
    combination *c = list_of(future);
    return c != NULL ? (int32_t)c->n : NEAP_ETYPE;
}

neap_future *neap_future_list_get(neap_future *future, size_t index) {
    combination *c = list_of(future);
    return c != NULL && index < c->n ? c->members[index].f : NULL;
}
