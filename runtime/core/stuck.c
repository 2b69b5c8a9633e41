/* stuck.c: what the loop tells of tasks that wait in vain: all rings, a deadlock, and those that close ends. */
#include "core/stuck.h"

#include "core/search.h"
#include "core/waits.h"

enum {
    TEXT_MAX = 2048
};

static void add_ring(np_text *to, const np_search *s) {
    uint32_t i = s->head;
    np_name_add(to, s->all->at[i].task);
    do {
        i = np_search_ahead(s, i);
        np_text_add(to, " -> ");
        np_name_add(to, s->all->at[i].task);
    } while (i != s->head);
}

int32_t np_rings_add(np_text *to, const np_places *all, const char *before, const char *after) {
    np_search s;
    int32_t rc = np_search_begin(&s, all);
    if (rc < 0)
        return rc;
    for (uint32_t root = 0; root < all->n; root++) {
        int found = np_search_from(&s, root) ? NP_SEARCH_TASK : NP_SEARCH_END;
        for (; found != NP_SEARCH_END; found = np_search_next(&s)) {
            if (found != NP_SEARCH_RING)
                continue;
            np_text_add(to, "%s", before);
            add_ring(to, &s);
            np_text_add(to, "%s", after);
        }
    }
    np_search_end(&s);
    return 0;
}

static void report_pending(neap_task *t, const np_places *all) {
    char bytes[TEXT_MAX];
    np_text message = {.bytes = bytes, .cap = sizeof bytes};
    np_text_add(&message, "the task was destroyed while it was pending: ");
    np_line_add(&message, t, all);
    np_report(
        t->f.obj.loop,
        (neap_report){.kind = NEAP_REPORT_PENDING, .message = bytes, .task = t, .future = &t->f});
}

void np_report_pending(neap_loop *loop) {
    np_places all;
    (void)np_places_make(loop, false,
                         &all); /* without memory for it the names of holders are missing */
    for (np_list *at = loop->tasks.next; at != &loop->tasks; at = at->next) {
        neap_task *t = np_container(at, neap_task, f.all);
        if ((t->f.flags & NP_F_IGNORED) == 0)
            report_pending(t, &all);
    }
    np_places_end(&all);
}

void np_report_deadlock(neap_loop *loop, neap_future *future) {
    char bytes[TEXT_MAX];
    np_text message = {.bytes = bytes, .cap = sizeof bytes};
    np_places all;
    (void)np_places_make(loop, false, &all);
    np_text_add(&message, "nothing can ever wake what is waited for");
    for (np_list *at = loop->tasks.next; at != &loop->tasks; at = at->next) {
        np_text_add(&message, "%s", at == loop->tasks.next ? ": " : "; ");
        np_line_add(&message, np_container(at, neap_task, f.all), &all);
    }
    (void)np_rings_add(&message, &all, "; in a ring: ", "");
    np_places_end(&all);
    np_report(loop, (neap_report){.kind = NEAP_REPORT_DEADLOCK,
                                  .code = NEAP_EDEADLOCK,
                                  .message = bytes,
                                  .future = future,
                                  .task = neap_future_task(future)});
}
