/* tree.c: the live tasks of a loop as text: what each one is at, below the one whose group it belongs to, each once. */
#include <stdio.h>

#include "core/scope.h"
#include "core/search.h"
#include "core/stuck.h"
#include "core/waits.h"

enum {
    PIECE_MAX = 1024,
    DEPTH_SHOWN =
        20 /* deeper ones stand no further to the right: a chain of many tasks makes no square of spaces */
};

typedef struct tree {
    np_text text;
    np_places all;
    uint32_t flags; /* NEAP_TREE_* */
    char piece[PIECE_MAX];
} tree;

static int32_t begin(tree *t, neap_loop *loop, uint32_t flags, neap_write_fn write, void *user) {
    *t = (tree){.text = {.cap = PIECE_MAX, .write = write, .user = user}, .flags = flags};
    t->text.bytes = t->piece;
    return np_places_make(loop, (flags & NEAP_TREE_BACKGROUND) != 0, &t->all);
}

static void end(tree *t) {
    np_text_flush(&t->text);
    np_places_end(&t->all);
}

/* ---- One task */

static void indent(np_text *to, uint32_t depth) {
    uint32_t shown = depth < DEPTH_SHOWN ? depth : DEPTH_SHOWN;
    np_text_add(to, "%*s", (int)(2 * shown), "");
    if (depth > shown)
        np_text_add(to, "(depth %u) ", depth);
}

/* Steps take microseconds or so. */
static void add_step_time(np_text *to, int64_t ns) {
    if (ns < NP_NS_PER_S / 1000)
        np_text_add(to, ", %.3g us", (double)ns / 1e3);
    else if (ns < NP_NS_PER_S)
        np_text_add(to, ", %.3g ms", (double)ns / 1e6);
    else
        np_text_add(to, ", %.4g s", (double)ns / 1e9);
}

static void add_headline(tree *t, neap_task *task) {
    np_text *to = &t->text;
    np_name_add(to, task);
    np_text_add(to, " #%llu ", (unsigned long long)task->id);
    np_wait_add(to, task, &t->all);
    np_where_add(to, task, "; at ");
    np_site_add(to, task, "; spawned at ");
    np_text_add(to, "; %llu step%s", (unsigned long long)task->steps, task->steps == 1 ? "" : "s");
    add_step_time(to, neap_task_step_time(task));
    np_text_add(to, "\n");
}

static void add_scope(np_text *to, const neap_scope *s) {
    static const char *const states[] = {"", ", cancelled", ", timed out"};
    int64_t left = s->deadline - s->obj.loop->now;
    if ((s->flags & NEAP_SCOPE_GROUP) != 0)
        np_text_add(to, "in a group of %u", s->members);
    else
        np_text_add(to, "in a %s", (s->flags & NEAP_SCOPE_SHIELD) != 0 ? "shield" : "scope");
    if (s->deadline != NP_NEVER && left > 0)
        np_text_add(to, ", deadline in %.4g s", (double)left / 1e9);
    np_text_add(to, "%s", states[s->state]);
    if (s->message != NULL)
        np_text_add(to, " (%s)", s->message);
    if (s->lifted)
        np_text_add(to, ", lifted");
    if (s->reached && s->state == NEAP_SCOPE_OPEN)
        np_text_add(to, ", cancelled by one around it");
    np_text_add(to, "\n");
}

typedef struct frames {
    np_text *text;
    uint32_t depth;
} frames;

static void add_frame(const char *line, size_t len, void *user) {
    frames *f = user;
    indent(f->text, f->depth);
    np_text_add(f->text, "    ");
    np_text_put(f->text, line, len);
    np_text_add(f->text, "\n");
}

/* What belongs to the task besides its headline: its stack, and the scopes that it is inside of, innermost first. */
static void add_rest(tree *t, neap_task *task, uint32_t depth) {
    frames f = {&t->text, depth};
    if ((t->flags & NEAP_TREE_STACKS) != 0 && np_task_knows_stack(task))
        task->ops->stack(task, task->user, add_frame, &f);
    for (const neap_scope *s = np_task_scope(task); s != NULL && s->owner == task; s = s->parent) {
        indent(&t->text, depth);
        np_text_add(&t->text, "  - ");
        add_scope(&t->text, s);
    }
}

/* ---- All of them */

static void add_below(tree *t, uint32_t root) {
    const np_place *at = t->all.at;
    uint32_t depth = 0;
    for (uint32_t i = root;;) {
        indent(&t->text, depth);
        add_headline(t, at[i].task);
        add_rest(t, at[i].task, depth);
        if (at[i].first != NP_NO_PLACE) {
            i = at[i].first;
            depth++;
            continue;
        }
        for (; i != root && at[i].next == NP_NO_PLACE; depth--)
            i = at[i].parent;
        if (i == root)
            return;
        i = at[i].next;
    }
}

int32_t neap_loop_write_tree(neap_loop *loop, uint32_t flags, neap_write_fn write, void *user) {
    bool known = (flags & ~(uint32_t)(NEAP_TREE_STACKS | NEAP_TREE_BACKGROUND)) == 0;
    int32_t rc = loop == NULL || write == NULL || !known ? NEAP_EINVAL : np_look(loop);
    tree t;
    if (rc == 0)
        rc = begin(&t, loop, flags, write, user);
    if (rc < 0)
        return rc;
    np_text_add(&t.text, "%s: %u task%s\n", loop->name, t.all.n, t.all.n == 1 ? "" : "s");
    for (uint32_t i = 0; i < t.all.n; i++)
        if (t.all.at[i].parent == NP_NO_PLACE)
            add_below(&t, i);
    rc = np_rings_add(&t.text, &t.all, "in a ring: ", "\n");
    end(&t);
    return rc;
}

/* ---- One task and what it waits for */

static void add_ring(tree *t, const np_search *s) {
    np_text_add(&t->text, "  which waits for ");
    np_name_add(&t->text, t->all.at[s->head].task);
    np_text_add(&t->text, ": a ring\n");
}

static int32_t add_chain(tree *t, uint32_t from) {
    np_search s;
    int32_t rc = np_search_begin(&s, &t->all);
    if (rc < 0)
        return rc;
    np_search_from(&s, from);
    for (int found; (found = np_search_next(&s)) != NP_SEARCH_END;) {
        if (found == NP_SEARCH_RING) {
            add_ring(t, &s);
            continue;
        }
        np_text_add(&t->text, "-> ");
        add_headline(t, t->all.at[s.at].task);
    }
    np_search_end(&s);
    return 0;
}

static void add_parent(tree *t, const neap_task *task) {
    const neap_task *parent = np_task_parent(task);
    if (parent == NULL)
        return;
    np_text_add(&t->text, "  - in the group of ");
    np_name_add(&t->text, parent);
    np_text_add(&t->text, "\n");
}

int32_t neap_task_explain(neap_task *task, neap_write_fn write, void *user) {
    int32_t rc = task == NULL || write == NULL ? NEAP_EINVAL : np_look(task->f.obj.loop);
    tree t;
    if (rc == 0)
        rc = begin(&t, task->f.obj.loop, NEAP_TREE_STACKS | NEAP_TREE_BACKGROUND, write, user);
    if (rc < 0)
        return rc;
    add_headline(&t, task);
    if (np_future_pending(&task->f)) {
        add_rest(&t, task, 0);
        add_parent(&t, task);
        rc = add_chain(&t, np_places_find(&t.all, task->id));
    }
    end(&t);
    return rc;
}

/* ---- For those who build a tree of their own */

static int32_t may_describe(const neap_task *task, const char *buf, size_t cap) {
    return task == NULL || (buf == NULL && cap > 0) ? NEAP_EINVAL : np_look(task->f.obj.loop);
}

/* Without memory for the table the name of a holder is missing. */
int32_t neap_task_describe(neap_task *task, char *buf, size_t cap) {
    char bytes[PIECE_MAX];
    np_text text = {.bytes = bytes, .cap = sizeof bytes};
    np_places all;
    int32_t rc = may_describe(task, buf, cap);
    if (rc < 0)
        return rc;
    (void)np_places_make(task->f.obj.loop, false, &all);
    np_line_add(&text, task, &all);
    np_places_end(&all);
    return snprintf(buf, cap, "%s", bytes);
}

int32_t neap_task_describe_wait(neap_task *task, char *buf, size_t cap) {
    char bytes[PIECE_MAX];
    np_text text = {.bytes = bytes, .cap = sizeof bytes};
    int32_t rc = may_describe(task, buf, cap);
    if (rc < 0)
        return rc;
    np_wait_add(&text, task, NULL);
    return snprintf(buf, cap, "%s", bytes);
}

uint64_t neap_task_waits_for(neap_task *task) {
    return np_look(task->f.obj.loop) < 0 ? 0 : np_waits_for(task);
}
