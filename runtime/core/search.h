/* search.h: a search in depth along the waits of tasks: which are reached from one, each once, and which stand in rings. */
#ifndef NP_SEARCH_H
#define NP_SEARCH_H

#include "core/places.h"

enum {
    NP_SEARCH_END = 0,
    NP_SEARCH_TASK, /* `at` was reached for the first time */
    NP_SEARCH_RING  /* `at` waits for `head`, from which it was reached */
};

typedef struct np_search_mark {
    uint32_t cursor; /* of np_waits_next */
    uint32_t back;   /* the place before it on the path */
    uint32_t ahead;  /* the place after it in the ring that was found last */
    uint8_t state;
} np_search_mark;

typedef struct np_search {
    const np_places *all;
    np_search_mark *marks; /* by place */
    uint32_t at;
    uint32_t head;
} np_search;

/* NEAP_ENOMEM, and then there is nothing to end. */
int32_t np_search_begin(np_search *s, const np_places *all);
void np_search_end(np_search *s);

/* Where to search from, if that was not reached yet (else false); then each np_search_next is a movement, NP_SEARCH_*. */
bool np_search_from(np_search *s, uint32_t root);
int np_search_next(np_search *s);

/* After NP_SEARCH_RING: the place after this one, head to head. */
uint32_t np_search_ahead(const np_search *s, uint32_t place);

#endif
