#include "core/search.h"

#include "core/waits.h"

enum {
    UNSEEN = 0,
    ON_PATH,
    FINISHED
};

static size_t size_for(const np_places *all) {
    return (all->n > 0 ? all->n : 1) * sizeof(np_search_mark);
}

int32_t np_search_begin(np_search *s, const np_places *all) {
    *s = (np_search){.all = all, .at = NP_NO_PLACE};
    s->marks = np_alloc_get(all->alloc, size_for(all));
    if (s->marks == NULL)
        return NEAP_ENOMEM;
    for (uint32_t i = 0; i < all->n; i++)
        s->marks[i] = (np_search_mark){.state = UNSEEN};
    return 0;
}

void np_search_end(np_search *s) {
    np_alloc_put(s->all->alloc, s->marks, size_for(s->all));
}

static void reach(np_search *s, uint32_t place) {
    s->marks[place].back = s->at;
    s->marks[place].state = ON_PATH;
    s->at = place;
}

bool np_search_from(np_search *s, uint32_t root) {
    if (s->marks[root].state != UNSEEN)
        return false;
    reach(s, root);
    return true;
}

static void note_ring(np_search *s, uint32_t head) {
    s->head = head;
    s->marks[s->at].ahead = head;
    for (uint32_t i = s->at; i != head; i = s->marks[i].back)
        s->marks[s->marks[i].back].ahead = i;
}

int np_search_next(np_search *s) {
    while (s->at != NP_NO_PLACE) {
        uint32_t next = np_waits_next(s->all, s->at, &s->marks[s->at].cursor);
        if (next == NP_NO_PLACE) {
            s->marks[s->at].state = FINISHED;
            s->at = s->marks[s->at].back;
        } else if (s->marks[next].state == ON_PATH) {
            note_ring(s, next);
            return NP_SEARCH_RING;
        } else if (s->marks[next].state == UNSEEN) {
            reach(s, next);
            return NP_SEARCH_TASK;
        }
    }
    return NP_SEARCH_END;
}

uint32_t np_search_ahead(const np_search *s, uint32_t place) {
    return s->marks[place].ahead;
}
