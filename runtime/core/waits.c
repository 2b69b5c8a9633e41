/* waits.c: what a task waits for: for the computer, and as text. */
#include "core/waits.h"

#include "core/scope.h"

enum {
    PARTS_SHOWN = 4,    /* of a combination */
    PARTS_SEARCHED = 64 /* so that many tasks which wait for the same many futures cost no square */
};

/* ---- What is waited for */

/* The i-th future that a future waits for itself, or NULL. */
static neap_future *part(const neap_future *f, uint32_t i) {
    return np_future_type_of(f)->part != NULL ? np_future_type_of(f)->part(f, i) : NULL;
}

/* Through futures that stand for one other. */
static const neap_future *resolve(const neap_future *f) {
    for (int n = 0; n < PARTS_SEARCHED && np_future_pending(f); n++) {
        const neap_future *inner = part(f, 0);
        if (inner == NULL || part(f, 1) != NULL)
            break;
        f = inner;
    }
    return f;
}

static uint64_t holder_of(const neap_future *f) {
    if (!np_future_pending(f))
        return 0;
    if (f->is_task)
        return np_container(f, neap_task, f)->id;
    uint64_t (*holder)(const neap_future *f) = np_future_type_of(f)->holder;
    return holder != NULL ? holder(f) : 0;
}

/* What the task cannot go on without, or NULL if it waits for no future. */
static const neap_future *awaited_by(const neap_task *t) {
    bool waits = t->awaiting != NULL && !t->open && np_future_pending(t->awaiting);
    return waits && np_future_pending(&t->f) ? t->awaiting : NULL;
}

uint64_t np_waits_for(const neap_task *t) {
    const neap_future *f = awaited_by(t);
    return f != NULL ? holder_of(resolve(f)) : 0;
}

static uint32_t next_part(const np_places *all, const neap_future *f, uint32_t *cursor) {
    for (; *cursor < PARTS_SEARCHED; ++*cursor) {
        const neap_future *p = *cursor == 0 && part(f, 0) == NULL ? f : part(f, *cursor);
        if (p == NULL)
            break;
        uint32_t place = np_places_find(all, holder_of(resolve(p)));
        if (place != NP_NO_PLACE) {
            ++*cursor;
            return place;
        }
    }
    *cursor = PARTS_SEARCHED;
    return NP_NO_PLACE;
}

/* Of a wait for the end of a group: its tasks, which stand below.  The cursor is the next of them, behind the parts. */
static uint32_t next_member(const np_places *all, uint32_t place, const neap_future *f,
                            uint32_t *cursor) {
    uint32_t i = *cursor == PARTS_SEARCHED ? all->at[place].first : *cursor - PARTS_SEARCHED - 1;
    while (i != NP_NO_PLACE && np_task_group(all->at[i].task)->joined != f)
        i = all->at[i].next;
    uint32_t after = i != NP_NO_PLACE ? all->at[i].next : NP_NO_PLACE;
    *cursor = after != NP_NO_PLACE ? after + PARTS_SEARCHED + 1 : NP_NO_PLACE;
    return i;
}

uint32_t np_waits_next(const np_places *all, uint32_t place, uint32_t *cursor) {
    const neap_future *f = awaited_by(all->at[place].task);
    uint32_t next = f != NULL && *cursor < PARTS_SEARCHED ? next_part(all, f, cursor) : NP_NO_PLACE;
    if (next != NP_NO_PLACE || f == NULL || *cursor == NP_NO_PLACE)
        return next;
    return next_member(all, place, f, cursor);
}

/* ---- As text */

void np_name_add(np_text *to, const neap_task *t) {
    if (t->f.extra != NULL && t->f.extra->name != NULL)
        np_text_add(to, "%s", t->f.extra->name);
    else
        np_text_add(to, "task-%llu", (unsigned long long)t->id);
}

void np_site_add(np_text *to, neap_task *t, const char *before) {
    char asked[256] = "";
    const char *site = t->f.extra != NULL ? t->f.extra->site : NULL;
    if (site == NULL && np_future_pending(&t->f) && np_task_knows_site(t))
        t->ops->site(t, t->user, asked, sizeof asked);
    site = site != NULL ? site : asked;
    if (site[0] != '\0')
        np_text_add(to, "%s%s", before, site);
}

/* Without what it may wait for itself. */
static void add_future(np_text *to, const neap_future *f, const np_places *all) {
    const np_future_type *type = np_future_type_of(f);
    if (f->is_task) {
        np_name_add(to, np_container(f, neap_task, f));
        return;
    }
    np_text_add(to, "%s", type->what != NULL ? type->what(f) : f->obj.type->name);
    if (type->detail != NULL) {
        char detail[256] = "";
        type->detail(f, detail, sizeof detail);
        np_text_add(to, "%s", detail);
    }
    uint32_t holder = all != NULL ? np_places_find(all, holder_of(f)) : NP_NO_PLACE;
    if (holder != NP_NO_PLACE) {
        np_text_add(to, " that ");
        np_name_add(to, all->at[holder].task);
        np_text_add(to, " has");
    }
}

static void add_parts(np_text *to, const neap_future *f, const np_places *all) {
    int shown = 0;
    for (uint32_t i = 0; i < PARTS_SEARCHED && part(f, i) != NULL; i++) {
        if (!np_future_pending(part(f, i)))
            continue;
        if (shown == PARTS_SHOWN) {
            np_text_add(to, " and more");
            break;
        }
        np_text_add(to, shown++ == 0 ? " of " : ", ");
        add_future(to, part(f, i), all);
    }
}

static void add_awaited(np_text *to, const neap_task *t, const np_places *all) {
    const neap_loop *loop = t->f.obj.loop;
    const neap_future *f = awaited_by(t);
    if (f == NULL) {
        np_text_add(to, "is ready");
        return;
    }
    np_text_add(to, "waits for ");
    add_future(to, f, all);
    add_parts(to, f, all);
    if (loop->now > t->waiting_since)
        np_text_add(to, ", for %.4g s", (double)(loop->now - t->waiting_since) / 1e9);
}

static void add_sleep(np_text *to, const neap_task *t) {
    const neap_loop *loop = t->f.obj.loop;
    int64_t when = np_heap_when(&loop->timers, &t->timer.heap);
    if (when == NP_NEVER)
        np_text_add(to, "sleeps for ever");
    else
        np_text_add(to, "sleeps for another %.4g s",
                    when > loop->now ? (double)(when - loop->now) / 1e9 : 0.0);
}

void np_wait_add(np_text *to, neap_task *t, const np_places *all) {
    if (!np_future_pending(&t->f)) {
        np_text_add(to, "has ended");
    } else if (t->open) {
        np_text_add(to, t->ops->step != NULL ? "runs" : "is with the host");
    } else if (t->node.where != NP_AT_NONE && t->node.where != NP_AT_WAIT) {
        np_text_add(to, t->started ? "is ready" : "is ready to start");
    } else if (t->asleep) {
        add_sleep(to, t);
    } else {
        add_awaited(to, t, all);
    }
}

void np_where_add(np_text *to, neap_task *t, const char *before) {
    char where[256] = "";
    if (t->ops->describe != NULL && np_future_pending(&t->f))
        t->ops->describe(t, t->user, where, sizeof where);
    if (where[0] != '\0')
        np_text_add(to, "%s%s", before, where);
}

void np_line_add(np_text *to, neap_task *t, const np_places *all) {
    np_name_add(to, t);
    np_text_add(to, " ");
    np_wait_add(to, t, all);
    np_where_add(to, t, " at ");
}
