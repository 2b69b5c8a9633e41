/* list.h: the intrusive doubly linked list.  A node belongs to at most one list; an unlinked node points to itself, so
   unlinking twice is harmless and no insertion can fail. */
#ifndef NP_LIST_H
#define NP_LIST_H

#include "base.h"

typedef struct np_list {
    struct np_list *next;
    struct np_list *prev;
} np_list;

static inline void np_list_init(np_list *l) {
    l->next = l;
    l->prev = l;
}

static inline bool np_list_empty(const np_list *l) {
    return l->next == l;
}

static inline void np_list_append(np_list *head, np_list *node) {
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void np_list_unlink(np_list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    np_list_init(node);
}

static inline np_list *np_list_pop(np_list *head) {
    np_list *node = head->next;
    np_list_unlink(node);
    return node;
}

/* Moves all of `from` behind the last node of `to`. */
static inline void np_list_splice(np_list *to, np_list *from) {
    if (np_list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    np_list_init(from);
}

/* Moves all of `from` before the first node of `to`. */
static inline void np_list_splice_front(np_list *to, np_list *from) {
    np_list_splice(from, to);
    np_list_splice(to, from);
}

#endif
