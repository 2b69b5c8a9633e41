#include "core/places.h"

#include "core/scope.h"

static uint32_t count(const np_list *list) {
    uint32_t n = 0;
    for (const np_list *at = list->next; at != list; at = at->next)
        n++;
    return n;
}

static void add_all(np_places *p, const np_list *tasks) {
    for (np_list *at = tasks->next; at != tasks; at = at->next)
        p->at[p->n++] = (np_place){np_container(at, neap_task, f.all), NP_NO_PLACE, NP_NO_PLACE,
                                   NP_NO_PLACE, NP_NO_PLACE};
}

static void link_to_parent(np_places *p, uint32_t i) {
    const neap_task *parent = np_task_parent(p->at[i].task);
    uint32_t at = parent != NULL ? np_places_find(p, parent->id) : NP_NO_PLACE;
    if (at == NP_NO_PLACE)
        return;
    p->at[i].parent = at;
    if (p->at[at].first == NP_NO_PLACE)
        p->at[at].first = i;
    else
        p->at[p->at[at].last].next = i;
    p->at[at].last = i;
}

int32_t np_places_make(neap_loop *loop, bool background, np_places *ret) {
    uint32_t n = count(&loop->tasks) + (background ? count(&loop->background) : 0);
    *ret = (np_places){.alloc = loop->alloc};
    if (n == 0)
        return 0;
    ret->at = np_alloc_get(loop->alloc, n * sizeof *ret->at);
    if (ret->at == NULL)
        return NEAP_ENOMEM;
    add_all(ret, &loop->tasks);
    if (background) /* their numbers are higher */
        add_all(ret, &loop->background);
    for (uint32_t i = 0; i < n; i++)
        link_to_parent(ret, i);
    return 0;
}

void np_places_end(np_places *p) {
    np_alloc_put(p->alloc, p->at, p->n * sizeof *p->at);
    p->at = NULL;
    p->n = 0;
}

uint32_t np_places_find(const np_places *p, uint64_t id) {
    uint32_t low = 0, high = p->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (p->at[mid].task->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < p->n && p->at[low].task->id == id ? low : NP_NO_PLACE;
}
